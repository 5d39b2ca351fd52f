"""An owner has as many unfinished jobs as they may, however many ask at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.states import Status
from jobs.store.lists.quotas import QuotaReached
from jobs.store.records import Job
from jobs.store.store import Store
from tests.jobs.conftest import SPEC


def create(store: Store, owner: str = "ada", key: str | None = None, most: int = 3) -> Job:
    return store.create(SPEC, owner=owner, idempotency_key=key, max_active=most)


def test_jobs_that_are_over_and_those_of_others_do_not_count(store: Store) -> None:
    mine = [create(store) for _ in range(3)]
    with pytest.raises(QuotaReached, match="ada has 3 unfinished jobs"):
        create(store)
    assert len(store.list().items) == 3  # what was refused left nothing
    create(store, owner="bob")
    claim = store.claim(mine[0].id, "worker")
    assert claim is not None
    with pytest.raises(QuotaReached):
        create(store)  # running and cancelling ones count
    store.request_cancel(mine[0].id)
    with pytest.raises(QuotaReached):
        create(store)
    assert store.cancelled(mine[0].id, claim.epoch)
    create(store)


def test_a_post_that_is_repeated_is_no_new_job(store: Store) -> None:
    first = [create(store, key=f"night-{n}") for n in range(3)]
    assert [create(store, key=f"night-{n}").id for n in range(3)] == [job.id for job in first]


def test_a_retry_counts_and_a_refused_one_changes_nothing(store: Store) -> None:
    over = create(store)
    store.request_cancel(over.id)
    before = store.get(over.id)
    for _ in range(3):
        create(store)
    with pytest.raises(QuotaReached):
        store.retry(over.id, max_active=3)
    assert store.get(over.id) == before
    assert store.retry(over.id, max_active=4)
    assert not store.retry(over.id, max_active=4)  # it is not over any more


def test_many_at_once_are_not_one_too_many(store: Store) -> None:
    over = [create(store, most=99) for _ in range(4)]
    for job in over:
        store.request_cancel(job.id)

    def one(number: int) -> bool:
        try:
            if number % 3 == 0:
                return store.retry(over[number // 3].id, max_active=5)
            return create(store, most=5) is not None
        except QuotaReached:
            return False

    with ThreadPoolExecutor(12) as pool:
        taken = list(pool.map(one, range(12)))
    assert sum(taken) == 5
    assert len(store.list(status=Status.QUEUED).items) == 5
