"""Many at once: whatever two of them try, exactly one gets it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.records import Job
from jobs.store.store import Store
from tests.jobs.conftest import SPEC, layer

T = TypeVar("T")


def at_once(actions: list[Callable[[], T]]) -> list[T]:
    """Run all at the same moment; their answers in order."""
    barrier = threading.Barrier(len(actions))

    def go(action: Callable[[], T]) -> T:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(go, actions))


def claim_all(url: str, job_ids: list[str], worker: str) -> list[str]:
    """Claim what can be had; runs in a process of its own."""
    engine = make_engine(url)
    store = Store(engine)
    won = [job_id for job_id in job_ids if store.claim(job_id, worker) is not None]
    engine.dispose()
    return won


def test_one_thread_claims(store: Store) -> None:
    for _ in range(10):
        job = store.create(SPEC)
        claims = at_once([lambda job=job: store.claim(job.id, "w")] * 6)  # type: ignore[misc]
        assert [claim is not None for claim in claims].count(True) == 1


def test_one_process_claims(store: Store, database_url: str) -> None:
    job_ids = [store.create(SPEC).id for _ in range(60)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        tasks = [pool.submit(claim_all, database_url, job_ids, name) for name in ("a", "b")]
        won = [task.result() for task in tasks]
    assert sorted(won[0] + won[1]) == sorted(job_ids)
    for name, ids in zip(("a", "b"), won, strict=True):
        running = [store.get(job.id) for job in store.list(status=Status.RUNNING, limit=200).items]
        assert sorted(job.id for job in running if job and job.worker == name) == sorted(ids)


def test_a_key_makes_one_job(store: Store) -> None:
    for key in ("k1", "k2", "k3"):
        made = at_once([lambda key=key: store.create(SPEC, idempotency_key=key)] * 6)  # type: ignore[misc]
        assert len({job.id for job in made}) == 1
    assert len(store.list().items) == 3


def test_finish_or_cancel_never_both(store: Store) -> None:
    for _ in range(10):
        job_id = store.create(SPEC).id
        store.claim(job_id, "w")

        def finish(job_id: str = job_id) -> bool:
            return store.finish(job_id, 1, prefix="p", result={}, report={})

        def cancel(job_id: str = job_id) -> bool:
            job = store.request_cancel(job_id)
            return job is not None and job.status is Status.CANCELLING

        assert sorted(at_once([finish, cancel])) == [False, True]


def test_two_reapers_reap_once(store: Store) -> None:
    for _ in range(8):
        store.claim(store.create(SPEC).id, "w")
    late = datetime.now(UTC) + timedelta(days=1)
    reaped = at_once([lambda: store.reap(late)] * 4)
    ids = [found.id for some in reaped for found in some]
    assert len(ids) == len(set(ids)) == 8


def test_layers_told_at_once_are_all_counted(store: Store) -> None:
    job_id = store.create(SPEC).id
    store.claim(job_id, "w")
    told = at_once([lambda n=n: store.layer_done(job_id, 1, layer(n)) for n in range(4)])  # type: ignore[misc]
    assert told == [True] * 4
    job = store.get(job_id)
    assert job is not None
    assert job.layers_done == len(store.layers(job_id)) == 4


def test_a_key_whose_job_is_just_removed_makes_a_new_one(store: Store) -> None:
    """Posted again while the first job is deleted: no conflict with a job that is not there."""
    for _ in range(10):
        job = store.create(SPEC, idempotency_key="again")
        store.request_cancel(job.id)
        over = store.get(job.id)
        assert over is not None

        def post() -> str:
            return store.create(SPEC, idempotency_key="again").id

        def remove(over: Job = over) -> str:
            assert store.remove(over)
            return ""

        posted, _ = at_once([post, remove])
        now = store.get(posted)
        assert posted == job.id or now is not None
        if now is not None:
            store.request_cancel(posted)
            last = store.get(posted)
            assert last is not None
            assert store.remove(last)
