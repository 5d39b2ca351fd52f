"""The client's methods for models, texts, workers, keys and failed engines, against a real API."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from jobs.messages.workers import WorkerFacts, announce
from jobs.settings import Settings
from jobs.store.engine_logs import EngineEnd, EngineLogs
from jobs.store.store import Store
from slimgpt.client import Client, UnauthorizedError
from tests.api.conftest import BODY
from tests.api.test_auth import Client as Callers
from tests.api.test_auth import client as callers
from tests.api.test_auth import engine, guarded, keys, stranger

__all__ = ["callers", "engine", "guarded", "keys", "stranger"]
MODEL = Path(__file__).resolve().parents[3] / "examples" / "model"


def test_models_and_texts_have_the_names_that_jobs_take(client: Any, settings: Settings) -> None:
    shutil.copytree(MODEL, settings.models_root / "shipped")
    found = {one.model: one for one in client.models.list().items}
    assert found["local:shipped"].prunable
    plan = client.jobs.plan(model="local:shipped", ratio=0.25)
    assert plan.parameters_before == found["local:shipped"].parameters
    assert plan.time.low <= plan.time.seconds <= plan.time.high
    assert str(plan.time) in plan.rows().title
    assert plan.token_costs.operations_after < plan.token_costs.operations_before
    first = client.models.list(limit=1)
    assert [one.model for one in client.models.list(cursor=first.next_cursor).items] == [
        name for name in found if name != first.items[0].model
    ]
    (text,) = client.texts.list().items
    assert (text.source, text.bytes) == (
        "local:notes.txt",
        (settings.texts_root / "notes.txt").stat().st_size,
    )


def test_a_queued_job_has_a_place_and_workers_are_listed(client: Any, redis_url: str) -> None:
    made = [client.jobs.create(BODY) for _ in range(2)]
    assert [client.jobs.status(job).queue_position for job in made] == [1, 2]
    facts = WorkerFacts("a", "rack-7", 4711, "CPU, 2 cores", "1.0", time.time(), None)
    announce(Redis.from_url(redis_url, decode_responses=True), facts, 0.5)
    (worker,) = client.workers()
    assert (worker.status, worker.device) == ("idle", "CPU, 2 cores")


def test_a_failed_engine_has_a_log(client: Any, own_store: Store) -> None:
    job = client.jobs.create(BODY)
    assert client.jobs.log(job).rows().rows == []
    claim = own_store.claim(job.id, "tester")
    assert claim is not None
    end = EngineEnd(1, "2026-11-30T10:00:00+00:00", "stage prune", -9, 5, 6, 7, ["first", "last"])
    EngineLogs(own_store.engine).put(job.id, claim.epoch, end)
    log = client.jobs.log(job)
    assert (log.exit_status, log.peak_bytes, list(log.lines)) == (-9, 6, ["first", "last"])
    assert ("standard error", "first\nlast") in log.rows().rows


def test_a_finished_job_has_its_time_and_code_for_its_files(
    client: Any, finished: dict[str, Any]
) -> None:
    job = client.jobs.get(finished["id"])
    assert job.seconds is not None
    assert "time" in dict(job.rows().rows)
    snippets = client.jobs.usage(job)
    assert snippets[0].tool == "curl"
    assert "config.json" in snippets[0].code


def test_a_key_is_made_listed_and_revoked(callers: Callers) -> None:
    with Client("http://127.0.0.1:1") as admin:
        admin._transport._http = callers("root", admin=True)  # type: ignore[assignment]
        made = admin.keys.create("ada", name="laptop")
        (listed,) = admin.keys.list(owner="ada").items
        assert (listed.id, listed.name, listed.revoked_at) == (made.id, "laptop", None)
        assert made.key not in str(listed)
        assert admin.keys.revoke(listed).revoked_at is not None
        admin._transport._http.headers["Authorization"] = f"Bearer {made.key}"
        with pytest.raises(UnauthorizedError):
            admin.overview()
