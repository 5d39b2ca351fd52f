"""A real worker announces itself, with its device and job, and leaves on a planned end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from jobs.messages.workers import known_workers
from tests.servers import wait_until
from tests.worker.health.test_heartbeat import service
from tests.worker.test_service import Service
from worker.health import device

__all__ = ["service"]


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


def test_a_gpu_is_named_by_nvidias_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    answer = "case \"$*\" in *--id=1*) echo 'B, 2048';; *) echo 'A, 1024'; echo 'B, 2048';; esac"
    tool.write_text(f"#!/bin/sh\n{answer}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.describe("auto") == "A, 1 GiB"
    assert device.describe("cuda:1") == "B, 2 GiB"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert device.describe("cuda") == "B, 2 GiB"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.describe("auto").startswith("CPU, ")
    assert device.describe("cpu").startswith("CPU, ")
