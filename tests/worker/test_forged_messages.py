"""Whoever can write to Redis can send messages: none of them makes the worker run anything."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.messages.queue import QUEUE, TASK
from jobs.states import Status
from tests.servers import wait_until
from tests.worker.test_service import Service, service

__all__ = ["service"]


class Bomb:
    """A pickle that leaves the canary when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


def forged(body: bytes, content_type: str, task: str = TASK, encoding: str = "utf-8") -> str:
    """A message as the broker holds it."""
    known = {"lang": "py", "task": task, "id": "forged", "argsrepr": "()", "kwargsrepr": "{}"}
    delivery = {"exchange": "", "routing_key": QUEUE}
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": known,
            "properties": {
                "body_encoding": "base64",
                "correlation_id": "forged",
                "delivery_info": delivery,
                "delivery_mode": 2,
                "delivery_tag": "forged",
                "priority": 0,
                "reply_to": "forged",
            },
        }
    )


def arguments(*values: Any) -> bytes:
    return json.dumps([values, {}, {"callbacks": None, "chain": None}]).encode()


def messages(canary: Path) -> Iterator[str]:
    """Pickles, what runs as YAML, tasks of others, jobs that are none."""
    bomb = pickle.dumps(((Bomb(canary),), {}, {}))
    for kind in ("application/x-python-serialize", "pickle"):
        yield forged(bomb, kind, encoding="binary")
    yield forged(b"!!python/object/apply:os.abort []", "application/x-yaml")
    for task in ("celery.backend_cleanup", "celery.chain", "os.abort", "worker.app.supervisor"):
        yield forged(arguments(), "application/json", task)
    for name in ("job_none", "../../etc", ["a", "list"], {"a": 1}):
        yield forged(arguments(name), "application/json")


@pytest.mark.timeout(240)
def test_a_worker_runs_no_stranger_and_goes_on(service: Service, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    worker = service.worker()
    with service.redis.client() as client:
        for message in messages(canary):
            client.lpush(QUEUE, message)
    job = service.submit(gate_open=True)
    service.await_status(job, Status.SUCCEEDED)
    service.check_published_once(job)
    assert worker.is_running()
    assert not canary.exists()
    with service.redis.client() as client:  # its own is sent again while the job waits for its turn
        wait_until(lambda: client.llen(QUEUE) == 0, "the queue is empty", 60)
