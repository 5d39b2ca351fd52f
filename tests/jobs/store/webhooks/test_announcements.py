"""Every end is told once to each webhook that wants to know, whatever happens to the job next."""

from __future__ import annotations

import json
import threading
from datetime import datetime

import pytest
from sqlalchemy import insert, select, update

from jobs.store.tables import DELIVERIES, JOBS
from jobs.store.webhooks.outbox import announce, announce_all
from tests.jobs.store.webhooks.conftest import ERROR, Ends


def test_an_end_is_told_to_those_who_want_it_and_once(ends: Ends) -> None:
    every, failures = ends.webhook(), ends.webhook(events=["job.failed"])
    other, off = ends.webhook("bob"), ends.webhook()
    ends.webhooks.change(off.id, enabled=False)
    jobs = [ends.succeeded(), ends.failed(), ends.cancelled()]
    assert announce_all(ends.store.engine) == 3
    assert announce_all(ends.store.engine) == 0
    told = [(delivery.event, delivery.job_id) for delivery in ends.told(every)]
    assert sorted(told) == sorted((f"job.{job.status}", job.id) for job in jobs)
    assert [delivery.job_id for delivery in ends.told(failures)] == [jobs[1].id]
    assert ends.told(other) == ends.told(off) == []


def test_what_is_told(ends: Ends) -> None:
    webhook = ends.webhook()
    job = ends.succeeded()
    announce_all(ends.store.engine)
    (delivery,) = ends.told(webhook)
    body = json.loads(delivery.body)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "job.succeeded"
    assert datetime.fromisoformat(body["timestamp"]) == job.finished_at
    data = body["data"]
    assert (data["id"], data["owner"], data["status"]) == (job.id, "ada", "succeeded")
    assert data["name"] == "tiny, ratio 0.5"
    assert data["model"] == job.spec.model
    assert data["result"].pop("seconds") > 0
    assert data["result"] == {"ratio_achieved": 0.5, "parameters_after": 450}
    assert data["error"] is None
    assert data["metadata"] == {"team": "grüße"}
    assert data["links"]["report"] == f"/v1/jobs/{job.id}/report"


def test_a_failure_says_why_in_bounds(ends: Ends) -> None:
    webhook = ends.webhook()
    job = ends.failed()
    long = {**ERROR, "message": "x" * 100_000}
    with ends.store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(error=long))
    announce_all(ends.store.engine)
    (delivery,) = ends.told(webhook)
    error = json.loads(delivery.body)["data"]["error"]
    assert error == {**ERROR, "message": "x" * 2000}


def test_a_text_that_is_no_unicode_holds_up_nobody(ends: Ends) -> None:
    if ends.store.engine.dialect.name == "postgresql":
        pytest.skip("PostgreSQL stores no such text in a job")
    webhook = ends.webhook()
    job = ends.failed()
    odd = {**ERROR, "message": "half a pair: \ud800"}
    with ends.store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(error=odd))
    ends.cancelled()
    assert announce_all(ends.store.engine) == 2
    assert all(delivery.body.isascii() for delivery in ends.told(webhook))


def test_an_end_is_told_though_the_job_is_retried_or_removed_at_once(ends: Ends) -> None:
    webhook = ends.webhook()
    retried, removed = ends.cancelled(), ends.cancelled()
    assert ends.store.retry(retried.id)
    assert ends.store.remove(removed)
    assert {delivery.job_id for delivery in ends.told(webhook)} == {retried.id, removed.id}


def test_after_a_retry_the_next_end_is_told_as_well(ends: Ends) -> None:
    webhook = ends.webhook()
    job = ends.cancelled()
    announce_all(ends.store.engine)
    assert ends.store.retry(job.id)
    assert announce_all(ends.store.engine) == 0
    ends.store.request_cancel(job.id)
    assert announce_all(ends.store.engine) == 1
    assert [delivery.job_id for delivery in ends.told(webhook)] == [job.id, job.id]


def test_a_crash_between_telling_and_remembering_leaves_neither(ends: Ends) -> None:
    webhook = ends.webhook()
    ends.cancelled()
    with ends.store.engine.connect() as connection:
        assert announce(connection) == 1
        assert connection.execute(select(DELIVERIES.c.id)).all()
    assert ends.told(webhook) == []
    assert announce_all(ends.store.engine) == 1
    assert len(ends.told(webhook)) == 1


def test_several_sweeps_at_once_tell_every_end_once(ends: Ends) -> None:
    webhook = ends.webhook()
    ended = {ends.cancelled().id for _ in range(25)}
    barrier = threading.Barrier(4)

    def sweep() -> None:
        barrier.wait()
        announce_all(ends.store.engine)

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [delivery.job_id for delivery in ends.told(webhook)]
    assert sorted(map(str, told)) == sorted(ended)


def test_more_ends_than_a_batch_are_all_told(ends: Ends) -> None:
    webhook = ends.webhook()
    job = ends.cancelled()
    with ends.store.engine.begin() as connection:
        row = dict(connection.execute(select(JOBS)).mappings().one())
        copies = [{**row, "id": f"{job.id[:-3]}{n:03}"} for n in range(250)]
        connection.execute(insert(JOBS), copies)
    assert announce_all(ends.store.engine) == 251
    assert len(ends.told(webhook)) == 200  # the largest page; more follow
