"""Jobs that are over: tried again, or gone with all they left. On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.files.artifacts import Artifacts
from jobs.files.removal import remove_job
from jobs.messages.progress import Progress
from jobs.states import Status
from jobs.store.store import Store
from tests.jobs.conftest import SPEC, layer
from tests.jobs.store.test_races import at_once

ERROR = {"code": "c", "message": "m", "hint": "h"}


@pytest.fixture
def progress(redis_url: str) -> Iterator[Progress]:
    made = Progress.connect(redis_url)
    yield made
    made.close()


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "artifacts"))


def fail(store: Store) -> str:
    """A job that failed in its first attempt, after a layer."""
    job_id = store.create(SPEC).id
    assert store.claim(job_id, "w")
    assert store.layer_done(job_id, 1, layer(0))
    assert store.fail(job_id, 1, ERROR)
    return job_id


def succeed(store: Store, artifacts: Artifacts, folder: Path) -> str:
    """A job with a published file."""
    job_id = store.create(SPEC).id
    assert store.claim(job_id, "w")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    artifacts.put(f"jobs/{job_id}/1", folder)
    assert store.finish(job_id, 1, prefix=f"jobs/{job_id}/1", result={}, report={})
    return job_id


def test_a_job_tried_again_is_like_new_but_for_its_counts(store: Store) -> None:
    job_id = fail(store)
    assert store.retry(job_id)
    job = store.get(job_id)
    assert job is not None
    assert (job.status, job.error, job.finished_at, job.started_at) == ("queued", None, None, None)
    assert (job.attempt, job.max_attempts, job.lease_epoch, job.layers_done) == (1, 4, 1, 0)
    assert not job.cancel_requested
    assert store.undispatched(0) == [job_id]  # the row is the outbox of a retry, too
    assert not store.fail(job_id, 1, ERROR)  # the earlier worker is not heard any more
    claim = store.claim(job_id, "w")
    assert claim is not None
    assert (claim.epoch, claim.attempt) == (2, 2)


def test_a_cancelled_job_tried_again_is_not_cancelled_at_once(store: Store) -> None:
    job_id = store.create(SPEC).id
    store.claim(job_id, "w")
    store.request_cancel(job_id)
    assert store.cancelled(job_id, 1)
    assert store.retry(job_id)
    claim = store.claim(job_id, "w")
    assert claim is not None
    renewal = store.renew(job_id, claim.epoch)
    assert renewal is not None
    assert not renewal.cancel_requested


def test_a_retry_goes_on_from_what_is_kept_or_starts_anew(store: Store) -> None:
    job_id = fail(store)  # with a layer
    assert store.retry(job_id)
    job = store.get(job_id)
    assert job is not None
    assert job.anew_epoch == 0
    claim = store.claim(job_id, "w")
    assert claim is not None
    assert store.engine_killed(job_id, claim.epoch, [{"where": "stage prune", "bytes": 5}])
    killed = store.get(job_id)
    assert killed is not None
    assert (killed.status, killed.attempt) == ("queued", 2)
    assert killed.engine_kills == [{"where": "stage prune", "bytes": 5}]
    store.claim(job_id, "w")
    assert store.fail(job_id, 3, ERROR)
    assert store.retry(job_id, anew=True)
    anew = store.get(job_id)
    assert anew is not None
    assert (anew.anew_epoch, anew.engine_kills) == (3, None)
    store.claim(job_id, "w")
    assert store.fail(job_id, 4, ERROR)  # before it has finished a layer
    assert store.expire_layers(0) == []


def test_layers_of_a_failed_job_are_kept_until_they_expire(store: Store) -> None:
    job_id = fail(store)
    (left,) = store.unswept()
    assert left.layers_kept
    assert store.swept(left)
    assert store.unswept() == []
    assert store.expire_layers(1) == []
    assert store.expire_layers(0) == [job_id]
    assert store.expire_layers(0) == []
    (left,) = store.unswept()
    assert not left.layers_kept
    assert store.swept(left)
    assert not store.swept(replace(left, layers_kept=True))  # it was looked at too early


def test_of_many_retries_one_counts(store: Store) -> None:
    job_id = fail(store)
    assert at_once([lambda: store.retry(job_id)] * 6).count(True) == 1


def test_only_what_did_not_succeed_is_tried_again(
    store: Store, artifacts: Artifacts, tmp_path: Path
) -> None:
    done, queued = succeed(store, artifacts, tmp_path / "made"), store.create(SPEC).id
    assert [store.retry(job_id) for job_id in (done, queued, "job_none")] == [False] * 3


def test_nothing_is_left_of_a_removed_job(
    store: Store, artifacts: Artifacts, progress: Progress, tmp_path: Path
) -> None:
    kept = fail(store)
    job_id = succeed(store, artifacts, tmp_path / "made")
    progress.record(job_id, layer(0))
    job = store.get(job_id)
    assert job is not None
    assert remove_job(job, store, artifacts, progress)
    assert store.get(job_id) is None
    assert progress.after(job_id) == []
    assert list((tmp_path / "artifacts" / "jobs").iterdir()) == []
    assert not remove_job(job, store, artifacts, progress)  # twice is once
    assert len(store.layers(kept)) == 1


def test_a_removal_that_was_cut_off_can_be_asked_for_again(
    store: Store, artifacts: Artifacts, progress: Progress, tmp_path: Path
) -> None:
    job_id = succeed(store, artifacts, tmp_path / "made")
    artifacts.delete(f"jobs/{job_id}/1")  # and there it was cut off
    job = store.get(job_id)
    assert job is not None
    assert remove_job(job, store, artifacts, progress)


def test_a_removal_that_a_retry_overtook_touches_nothing_new(
    store: Store, artifacts: Artifacts, progress: Progress, tmp_path: Path
) -> None:
    job_id = fail(store)
    stale = store.get(job_id)
    assert stale is not None
    assert store.retry(job_id)
    assert store.claim(job_id, "w")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    artifacts.put(f"jobs/{job_id}/2", folder)
    assert store.finish(job_id, 2, prefix=f"jobs/{job_id}/2", result={}, report={})
    assert not remove_job(stale, store, artifacts, progress)
    job = store.get(job_id)
    assert job is not None
    assert job.status is Status.SUCCEEDED
    assert [file.path for file in artifacts.list(f"jobs/{job_id}/2")] == ["config.json"]


def test_a_job_that_is_not_over_is_not_removed(store: Store) -> None:
    job = store.create(SPEC)
    assert not store.remove(job)
    assert store.get(job.id) is not None
