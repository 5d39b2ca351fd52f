"""`GET /jobs/{id}/log`: what a real engine process wrote before it failed."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from jobs.store.engine_logs import EngineEnd, EngineLogs
from jobs.store.store import Store
from tests.api.conftest import BODY
from tests.api.http.test_problems import problem
from tests.api.test_auth import Client, client, engine, guarded, keys, stranger

__all__ = ["client", "engine", "guarded", "keys", "stranger"]
END = EngineEnd(1, "2026-11-30T10:00:00+00:00", "stage prune", -9, 5, 6, 7, ["a\0b", "last"])


def test_the_log_is_the_last_failed_engines(api: httpx.Client, own_store: Store) -> None:
    job = api.post("/jobs", json=BODY).json()["id"]
    empty = api.get(f"/jobs/{job}/log")
    assert (empty.status_code, empty.json()["lines"]) == (200, [])
    logs = EngineLogs(own_store.engine)
    assert not logs.put(job, 0, END), "nobody holds the job"
    claim = own_store.claim(job, "w")
    assert claim is not None
    assert logs.put(job, claim.epoch, END)
    assert logs.put(job, claim.epoch, replace(END, attempt=2))
    assert not logs.put(job, claim.epoch - 1, END)
    told = api.get(f"/jobs/{job}/log").json()
    assert told["lines"] == ["a\ufffdb", "last"]
    assert (told["attempt"], told["exit_status"]) == (2, -9)
    assert (told["memory_bytes"], told["peak_bytes"], told["available_bytes"]) == (5, 6, 7)


@pytest.mark.parametrize("job", ["job_none", "job_\0"])
def test_of_a_job_that_is_none_there_is_no_log(api: httpx.Client, job: str) -> None:
    assert api.get(f"/jobs/{job}/log".replace("\0", "%00")).status_code == 404


def test_another_owners_log_is_not_found(client: Client) -> None:
    job = client("ada").post("/jobs", json=BODY).json()["id"]
    problem(client("eve").get(f"/jobs/{job}/log"), "job-not-found")
    assert client("root", admin=True).get(f"/jobs/{job}/log").status_code == 200
