"""`GET /workers` and the place in the queue: who sees what."""

from __future__ import annotations

import time

import pytest
from redis import Redis
from sqlalchemy import Engine
from starlette.testclient import TestClient

from jobs.messages.workers import (
    FORGOTTEN_SECONDS,
    KEY,
    WorkerFacts,
    announce,
    known_workers,
    leave,
)
from jobs.store.store import Store
from tests.api.conftest import BODY
from tests.api.test_auth import Client, client, engine, guarded, keys, stranger

__all__ = ["client", "engine", "guarded", "keys", "stranger"]


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return Redis.from_url(redis_url, decode_responses=True)


def facts(name: str, job: str | None = None) -> WorkerFacts:
    return WorkerFacts(name, "rack-7", 4711, "CPU, 2 cores, 8 GiB", "1.0", time.time(), job)


def test_everyone_sees_the_workers_and_their_own_jobs_only(
    client: Client, engine: Engine, redis: Redis
) -> None:
    ada, eve, root = client("ada"), client("eve"), client("root", admin=True)
    job = ada.post("/jobs", json=BODY).json()["id"]
    claim = Store(engine).claim(job, "w")
    assert claim is not None
    announce(redis, facts("a", job), 0.5)
    announce(redis, facts("b"), 2.0)
    announce(redis, facts("c", "job_old"), 3600.0)

    def look(api: TestClient) -> list[dict[str, object]]:
        items: list[dict[str, object]] = api.get("/workers").json()["items"]
        return items

    for api, shown in ((ada, job), (eve, None), (root, job)):
        busy, idle, silent = look(api)
        assert [one["status"] for one in (busy, idle, silent)] == ["busy", "idle", "silent"]
        assert busy["job"] == shown
        assert idle["job"] is None
        assert busy["device"] == "CPU, 2 cores, 8 GiB"
        for one in (busy, idle, silent):
            assert (one["host"], one["pid"]) == (("rack-7", 4711) if api is root else (None, None))
    assert "rack-7" not in eve.get("/workers").text
    assert job not in eve.get("/workers").text


def test_a_worker_that_is_long_gone_is_forgotten(redis: Redis) -> None:
    announce(redis, facts("gone"), FORGOTTEN_SECONDS + 1)
    announce(redis, facts("here"), 0.0)
    redis.hset(KEY, "torn", "{")
    assert [one.facts.id for one in known_workers(redis)] == ["here"]
    leave(redis, "here")
    assert known_workers(redis) == []


def test_a_queued_job_has_a_place_among_all(client: Client, engine: Engine) -> None:
    ada, eve = client("ada"), client("eve")
    first, second, third = (api.post("/jobs", json=BODY).json()["id"] for api in (ada, eve, ada))

    def place(api: TestClient, job: str) -> object:
        return api.get(f"/jobs/{job}/status").json()["queue_position"]

    assert [place(ada, first), place(eve, second), place(ada, third)] == [1, 2, 3]
    assert Store(engine).claim_next("w")
    assert [place(ada, first), place(eve, second), place(ada, third)] == [None, 1, 2]
    eve.post(f"/jobs/{second}/cancel")
    assert [place(eve, second), place(ada, third)] == [None, 1]
