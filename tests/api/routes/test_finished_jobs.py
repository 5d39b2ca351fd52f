"""Retrying and deleting over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from jobs.files.artifacts import Artifacts
from jobs.messages.queue import QUEUE
from jobs.store.store import Store
from tests.api.routes.test_jobs import post
from tests.servers import RedisServer, wait_until

ERROR = {"code": "worker-lost", "message": "silent", "hint": "look"}


@pytest.fixture
def failed(api: httpx.Client, own_store: Store) -> str:
    """Id of a failed job."""
    job_id: str = post(api).json()["id"]
    claim = own_store.claim(job_id, "tester")
    assert claim is not None
    own_store.fail(job_id, claim.epoch, ERROR)
    return job_id


def test_a_failed_job_is_queued_again_and_sent(
    api: httpx.Client, failed: str, redis_server: RedisServer
) -> None:
    with redis_server.client() as redis:
        redis.delete(QUEUE)
        answer = api.post(f"/jobs/{failed}/retry")
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/v1/jobs/{failed}"
        assert (answer.json()["status"], answer.json()["error"]) == ("queued", None)
        wait_until(lambda: failed in str(redis.lrange(QUEUE, 0, -1)), "the retry is sent")


@pytest.mark.parametrize(
    ("body", "epoch"), [(None, 0), ({}, 0), ({"anew": False}, 0), ({"anew": True}, 1)]
)
def test_a_retry_may_ask_to_start_anew(
    api: httpx.Client, failed: str, own_store: Store, body: Any, epoch: int
) -> None:
    assert api.post(f"/jobs/{failed}/retry", json=body).status_code == 202
    job = own_store.get(failed)
    assert job is not None
    assert job.anew_epoch == epoch


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"anew": 3}', b'{"new": true}', b'"anew"'])
def test_a_retry_that_is_not_understood_changes_nothing(
    api: httpx.Client, failed: str, body: bytes
) -> None:
    answer = api.post(
        f"/jobs/{failed}/retry", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert api.get(f"/jobs/{failed}").json()["status"] == "failed"


def test_a_job_that_waits_or_succeeded_is_not_retried(
    api: httpx.Client, finished: dict[str, Any], failed: str
) -> None:
    api.post(f"/jobs/{failed}/retry")
    for job_id, problem in ((failed, "job-not-finished"), (finished["id"], "job-finished")):
        answer = api.post(f"/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["type"]) == (409, f"/problems/{problem}")
        assert "only a failed or cancelled one" in answer.json()["detail"]


def test_a_deleted_job_is_gone_with_its_files(api: httpx.Client, finished: dict[str, Any]) -> None:
    folder: Path = finished["folder"]
    assert folder.is_dir()
    here = f"/jobs/{finished['id']}"
    answer = api.delete(here)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not folder.parent.exists()
    for address in (here, f"{here}/status", f"{here}/report", f"{here}/artifacts"):
        assert api.get(address).status_code == 404
    assert api.get("/jobs").json()["items"] == []
    assert api.delete(here).json()["type"] == "/problems/job-not-found"


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), RuntimeError("ClientError")])
def test_files_that_cannot_be_removed_now_can_be_asked_for_again(
    api: httpx.Client,
    finished: dict[str, Any],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every object store has exceptions of its own."""

    def refuse(*_: object) -> None:
        raise error

    here = f"/jobs/{finished['id']}"
    with monkeypatch.context() as broken, capture_logs() as logged:
        broken.setattr(Artifacts, "delete", refuse)
        answer = api.delete(here)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert str(error) not in answer.text
    assert ("files not removed", finished["id"]) in [(e["event"], e.get("job")) for e in logged]
    assert api.delete(here).status_code == 204


def test_a_job_that_is_not_over_is_not_deleted(api: httpx.Client, own_store: Store) -> None:
    queued, running = post(api).json()["id"], post(api).json()["id"]
    own_store.claim(running, "tester")
    for job_id in (queued, running):
        answer = api.delete(f"/jobs/{job_id}")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/job-not-finished")
        assert api.get(f"/jobs/{job_id}").status_code == 200


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_an_unknown_job_is_neither_deleted_nor_retried(api: httpx.Client, method: str) -> None:
    address = "/jobs/job_x" if method == "DELETE" else "/jobs/job_x/retry"
    assert api.request(method, address).status_code == 404
