"""What is kept of jobs that are over, and for how long. On both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from jobs.files.artifacts import Artifacts
from jobs.files.removal import sweep_job
from jobs.states import Status
from jobs.store.records import Job
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.jobs.conftest import SPEC
from tests.jobs.store.test_races import at_once

ERROR = {"code": "c", "message": "m", "hint": "h"}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "artifacts"))


def put(artifacts: Artifacts, prefix: str) -> None:
    """A published file of two bytes."""
    artifacts.write(prefix, "config.json", b"{}")


def succeed(store: Store, size: int = 2, days_ago: float = 0.0) -> str:
    """A job that ended so long ago, its files so large."""
    job_id = store.create(SPEC).id
    assert store.claim(job_id, "w")
    prefix = f"jobs/{job_id}/1"
    assert store.finish(job_id, 1, prefix=prefix, result={}, report={"r": 1}, artifacts_bytes=size)
    end(store, job_id, days_ago)
    return job_id


def end(store: Store, job_id: str, days_ago: float) -> None:
    then = datetime.now(UTC) - timedelta(days=days_ago)
    with store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(finished_at=then))


def get(store: Store, job_id: str) -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def expired(store: Store) -> set[str]:
    return {job.id for job in store.list(limit=200).items if job.artifacts_removed_at is not None}


def test_files_go_by_age_and_the_record_stays(store: Store) -> None:
    old, young = succeed(store, days_ago=8), succeed(store, days_ago=6)
    running = store.create(SPEC).id
    store.claim(running, "w")
    assert store.expire_older(7) == [old]
    assert store.expire_older(7) == []
    assert expired(store) == {old}
    job = get(store, old)
    assert (job.status, job.artifacts_bytes) == (Status.SUCCEEDED, 2)
    assert store.report(old) == {"r": 1}
    assert get(store, young).artifacts_removed_at is None


def test_those_that_ended_first_make_room(store: Store) -> None:
    first, second, third = (
        succeed(store, size, days) for size, days in ((40, 3), (30, 2), (20, 1))
    )
    unknown = succeed(store, days_ago=4)
    with store.engine.begin() as connection:  # from before sizes were kept
        connection.execute(update(JOBS).where(JOBS.c.id == unknown).values(artifacts_bytes=None))
    assert store.expire_beyond(90) == []
    assert set(store.expire_beyond(89)) == {unknown, first}
    assert store.expire_beyond(50) == []
    assert store.expire_beyond(49) == [second]
    assert store.expire_beyond(20) == []
    assert expired(store) == {unknown, first, second}
    assert get(store, third).artifacts_removed_at is None


def test_of_many_reapers_none_frees_more_than_must_go(store: Store) -> None:
    jobs = [succeed(store, 10, days_ago=20 - n) for n in range(20)]
    found = at_once([lambda: store.expire_beyond(100)] * 4)
    assert sorted(job_id for some in found for job_id in some) == sorted(jobs[:10])
    assert expired(store) == set(jobs[:10])


def test_a_sweep_leaves_what_is_promised_and_is_done_once(
    store: Store, artifacts: Artifacts
) -> None:
    """A worker lost its lease when it had published half; the next one finished."""
    job_id = store.create(SPEC).id
    assert store.claim(job_id, "w1")
    put(artifacts, f"jobs/{job_id}/1")
    put(artifacts, f"work/{job_id}/1")
    assert store.unswept() == []  # not over
    store.reap(datetime.now(UTC) + timedelta(days=1))
    assert store.claim(job_id, "w2")
    put(artifacts, f"jobs/{job_id}/2")
    put(artifacts, f"jobs/{job_id}/2.partial")
    assert store.finish(job_id, 2, prefix=f"jobs/{job_id}/2", result={}, report={})
    (stale,) = store.unswept()
    assert sweep_job(stale, store, artifacts)
    assert store.unswept() == []
    assert artifacts.children(f"jobs/{job_id}") == ["2"]
    assert artifacts.children("work") == []


def test_expired_files_are_swept_also_after_a_first_sweep(
    store: Store, artifacts: Artifacts
) -> None:
    job_id = succeed(store, days_ago=2)
    put(artifacts, f"jobs/{job_id}/1")
    (first,) = store.unswept()
    assert sweep_job(first, store, artifacts)
    assert artifacts.children(f"jobs/{job_id}") == ["1"]
    assert store.expire_older(1) == [job_id]
    assert not store.swept(first)  # what was read before it expired says nothing now
    (second,) = store.unswept()
    assert sweep_job(second, store, artifacts)
    assert artifacts.children("jobs") == []
    assert store.unswept() == []


def test_a_sweep_that_was_cut_off_is_done_again(store: Store, artifacts: Artifacts) -> None:
    job_id = succeed(store, days_ago=2)
    put(artifacts, f"jobs/{job_id}/1")
    store.expire_older(1)
    artifacts.delete(f"jobs/{job_id}/1")  # and there it was cut off
    (stale,) = store.unswept()
    assert sweep_job(stale, store, artifacts)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_job_tried_again_is_swept_again_and_loses_nothing_new(
    store: Store, artifacts: Artifacts, how: str
) -> None:
    job_id = store.create(SPEC).id
    assert store.claim(job_id, "w")
    put(artifacts, f"jobs/{job_id}/1")
    if how == "failed":
        assert store.fail(job_id, 1, ERROR)
    else:
        store.request_cancel(job_id)
        assert store.cancelled(job_id, 1)
    (stale,) = store.unswept()
    assert store.retry(job_id)
    assert store.claim(job_id, "w")
    put(artifacts, f"jobs/{job_id}/2")
    assert not sweep_job(stale, store, artifacts)  # it has become another's turn meanwhile
    assert artifacts.children(f"jobs/{job_id}") == ["2"]
    assert store.finish(job_id, 2, prefix=f"jobs/{job_id}/2", result={}, report={})
    (stale,) = store.unswept()
    assert sweep_job(stale, store, artifacts)
    assert artifacts.children(f"jobs/{job_id}") == ["2"]


def test_a_job_cancelled_before_anybody_took_it_has_nothing_to_sweep(store: Store) -> None:
    store.request_cancel(store.create(SPEC).id)
    assert store.unswept() == []


def test_what_may_be_left_of_many_jobs_is_one_question(store: Store) -> None:
    done, queued = succeed(store), store.create(SPEC).id
    found = store.stale_files([done, queued, "job_none"])
    assert set(found) == {done, queued}
    assert found[queued] is None
    assert found[done] is not None
    many = [f"job_{n}" for n in range(1500)]
    assert set(store.stale_files([*many, done])) == {done}


def test_only_records_of_jobs_long_over_are_outdated(store: Store) -> None:
    old = succeed(store, days_ago=31)
    succeed(store, days_ago=29)
    store.create(SPEC)
    assert [job.id for job in store.outdated(30)] == [old]
