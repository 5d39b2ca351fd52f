"""A real worker announces itself, with its device and job, and leaves on a planned end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from jobs.messages.workers import known_workers
from slimgpt.machine import threads
from tests.servers import wait_until
from tests.worker.gpu_driver import driver
from tests.worker.health.test_heartbeat import service
from tests.worker.test_service import Service
from worker.health import device

__all__ = ["driver", "service"]
DESCRIBE = """
import json, os, sys
from worker.health import device
for setting, visible in json.loads(sys.argv[1]):
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    print(device.describe(setting))
"""


@pytest.fixture
def registry(service: Service) -> Iterator[Redis]:
    redis = Redis.from_url(service.redis.url, decode_responses=True)
    yield redis
    redis.close()


def test_a_worker_is_there_while_it_runs(service: Service, registry: Redis) -> None:
    worker = service.start_worker()
    (entry,) = wait_until(lambda: known_workers(registry), "the worker announces itself")
    wait_until(lambda: "CPU" in known_workers(registry)[0].facts.device, "and its device")
    assert entry.alive
    assert (entry.facts.pid, entry.facts.job) == (worker.pid, None)
    job = service.submit()
    service.await_layer(job)
    wait_until(lambda: known_workers(registry)[0].facts.job == job.id, "it tells its job")
    service.open_gate(job)
    wait_until(lambda: known_workers(registry)[0].facts.job is None, "it waits again", 60)
    worker.send_signal(signal.SIGTERM)
    assert service.workers[-1].wait(60) == 0
    assert known_workers(registry) == []


def test_a_gpu_is_named_by_nvidias_driver(driver: Path) -> None:
    cases = {
        ("auto", "0,1"): "A, 40 GiB",
        ("cuda:1", "0,1"): "B, 80 GiB",
        ("cuda", "1"): "B, 80 GiB",
        ("cuda:1", "1"): "cuda:1, which this machine does not show",
        ("auto", ""): "CPU, ",
        ("cpu", "0"): "CPU, ",
    }
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE, json.dumps(list(cases))],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver)},
        check=True,
        capture_output=True,
        text=True,
    )
    for told, wanted in zip(done.stdout.splitlines(), cases.values(), strict=True):
        assert told.startswith(wanted)


@pytest.mark.parametrize(("count", "words"), [(1, "CPU, 1 core, "), (3, "CPU, 3 cores, ")])
def test_cores_are_counted_where_those_of_the_engine_are(
    count: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's quota included (tests/slimgpt/machine/test_threads.py)."""
    monkeypatch.setattr(threads, "available", lambda: count)
    assert device.describe("cpu").startswith(words)
