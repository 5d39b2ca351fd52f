"""A message is a token: as many jobs are taken as messages come, the oldest first, none is left."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select, update

from jobs.states import Status
from jobs.store import database
from jobs.store.database import make_engine
from jobs.store.store import Store
from jobs.store.tables import JOBS
from slimgpt.spec.prune import PruneSpec
from tests.jobs.conftest import SPEC
from tests.jobs.store.test_races import at_once
from tests.servers import wait_until


def test_the_oldest_is_taken_first(store: Store) -> None:
    jobs = [store.create(SPEC).id for _ in range(4)]
    store.request_cancel(jobs[0])
    taken = [store.claim_next("w") for _ in range(4)]
    assert [claim.job.id for claim in taken if claim] == sorted(jobs[1:])
    assert taken[-1] is None


def test_as_many_workers_as_jobs_leave_none_over(store: Store) -> None:
    for _ in range(5):
        jobs = {store.create(SPEC).id for _ in range(8)}
        claims = at_once([lambda: store.claim_next("w")] * 8)
        assert {claim.job.id for claim in claims if claim} == jobs


def test_a_row_that_is_locked_just_now_is_waited_for(postgres_url: str) -> None:
    """The API notes that the message was sent while the worker, who got it, looks for the job."""
    engine = make_engine(postgres_url)
    store = Store(engine)
    job_id = store.create(SPEC).id
    taken: list[str | None] = []

    def take() -> None:
        claim = store.claim_next("w")
        taken.append(claim.job.id if claim else None)

    worker = threading.Thread(target=take)
    with engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(worker="noting"))
        worker.start()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            wait_until(lambda: other.exec_driver_sql(_WAITING).scalar(), "the worker waits")
        assert taken == []
    worker.join(timeout=60)
    assert taken == [job_id]
    engine.dispose()


def test_a_worker_frozen_within_a_transaction_holds_nobody_up_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel still answers for it, so that its connection never breaks by itself."""
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.5)
    frozen, engine = make_engine(postgres_url), make_engine(postgres_url)
    job_id = Store(engine).create(SPEC).id
    held = frozen.connect()
    held.execute(update(JOBS).where(JOBS.c.id == job_id).values(worker="about to claim"))
    claim = Store(engine).claim_next("w")  # waits for the lock
    assert claim is not None
    assert claim.job.id == job_id
    held.invalidate()
    held.close()
    frozen.dispose()
    engine.dispose()


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantize": "int4"}, "quantize: Extra inputs are not permitted"),  # from the future
        ({"model": None, "checkpoint": "org/name"}, "model:"),  # from the past
    ],
)
def test_a_job_of_another_version_can_be_read_and_stops_nobody(
    store: Store, change: dict[str, object], words: str
) -> None:
    foreign, next_one = store.create(SPEC, owner="ada").id, store.create(SPEC, owner="ada").id
    spec = {k: v for k, v in (SPEC.model_dump(mode="json") | change).items() if v is not None}
    with store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == foreign).values(spec=spec))
    listed = {job.id: job.spec for job in store.list(owner="ada").items}
    assert {name: summary.model for name, summary in listed.items()} == {
        foreign: spec.get("model"),
        next_one: SPEC.model,
    }
    known = {name: job.spec for name in (foreign, next_one) if (job := store.get(name))}
    assert not isinstance(known[foreign], PruneSpec)
    assert isinstance(known[next_one], PruneSpec)
    claim = store.claim_next("w")
    assert claim is not None
    assert (claim.job.id, claim.spec) == (next_one, SPEC)
    failed = store.get(foreign)
    assert failed is not None
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "spec-not-understood"
    assert words in failed.error["message"]
    assert store.retry(foreign)  # when the workers know the words
    assert store.claim(foreign, "w") is None
    with store.engine.connect() as connection:
        kept = connection.scalar(select(JOBS.c.spec).where(JOBS.c.id == foreign))
    assert kept == spec
