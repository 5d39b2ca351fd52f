"""Uploaded texts reach the engine whole or not at all, and those that were cut off are swept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs.files.calibration_sets import CalibrationSet, CalibrationSets, Content, Quota, new_set_id
from jobs.states import Status
from jobs.store.records import Job
from slimgpt.spec.prune import PruneSpec
from tests.servers import wait_until
from tests.worker.conftest import Bench
from worker.housekeeping.retention import RetentionSweep
from worker.job.supervisor import Outcome

LINES = b'{"text": "one"}\n' * 1000


@pytest.fixture
def sets(bench: Bench) -> CalibrationSets:
    return CalibrationSets(bench.engine)


@pytest.fixture
def made(bench: Bench, sets: CalibrationSets, tmp_path: Path) -> CalibrationSet:
    """A set that is there."""
    set_id = new_set_id()
    content = Content("jsonl", 1000, len(LINES), hashlib.sha256(LINES).hexdigest())
    assert sets.reserve(set_id, "local", "", content, Quota(10, 1 << 30)) is None
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / f"{set_id}.jsonl").write_bytes(LINES)
    bench.artifacts.put(f"calibration-sets/{set_id}", tmp_path / "new")
    found = sets.publish(set_id)
    assert found is not None
    return found


def job_on(bench: Bench, made: CalibrationSet) -> Job:
    """A job that names the set twice."""
    source = f"upload:{made.id}"
    texts = {"calibration": {"source": source}, "evaluation": {"texts": [source, "held-out"]}}
    return bench.store.create(
        PruneSpec.model_validate({"model": "local:tiny", "ratio": 0.5, **texts})
    )


def stored(bench: Bench, made: CalibrationSet) -> Path:
    return Path(bench.artifacts.root) / made.prefix / made.file


def error(bench: Bench, job: Job) -> dict[str, str]:
    """Why the job failed; nothing of it is left on the disk."""
    failed = bench.again(job)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert bench.work_folders() == []
    assert str(bench.settings.home) not in str(failed.error)
    return failed.error


def test_the_engine_is_told_where_the_text_is(bench: Bench, made: CalibrationSet) -> None:
    job = job_on(bench, made)
    gate = bench.settings.home / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    folder = bench.settings.work_root / job.id / "uploads"
    assert [path.name for path in folder.iterdir()] == [made.file]
    assert (folder / made.file).read_bytes() == LINES
    gate.touch()
    assert wait_until(lambda: answers, "the job is done") == [Outcome.SUCCEEDED]
    with bench.artifacts.open(f"jobs/{job.id}/1", "argv.json") as file:
        assert f'"--uploads-root", "{folder}"'.encode() in file.read()
    assert bench.work_folders() == []


def test_another_attempt_does_not_fetch_again(bench: Bench, made: CalibrationSet) -> None:
    job = job_on(bench, made)
    gate = bench.settings.home / "gate"
    answers = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    bench.shutting_down = True
    assert wait_until(lambda: answers, "it is given back") == [Outcome.RELEASED]
    bench.shutting_down = False
    stored(bench, made).unlink()
    gate.touch()
    assert bench.supervisor("good", gate).run(job.id) is Outcome.SUCCEEDED


def test_what_an_earlier_attempt_left_torn_is_fetched_again(
    bench: Bench, made: CalibrationSet
) -> None:
    job = job_on(bench, made)
    folder = bench.settings.work_root / job.id / "uploads"
    folder.mkdir(parents=True)
    (folder / made.file).write_bytes(b"x" * len(LINES))
    gate = bench.settings.home / "gate"
    bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    assert (folder / made.file).read_bytes() == LINES
    gate.touch()


def test_a_set_that_is_gone_fails_the_job_clearly(
    bench: Bench, sets: CalibrationSets, made: CalibrationSet
) -> None:
    with sets.engine.begin() as connection:  # as if deleted between the look and the insert
        connection.execute(text("UPDATE calibration_sets SET stored = false"))
    job = job_on(bench, made)
    assert bench.supervisor("good").run(job.id) is Outcome.FAILED
    told = error(bench, job)
    assert told["code"] == "calibration-set-gone"
    assert made.id in told["message"]
    assert told["hint"].startswith("upload the text again")


def test_a_file_that_is_gone_or_another_fails_the_job_clearly(
    bench: Bench, made: CalibrationSet
) -> None:
    for content, code in ((None, "gone"), (b"x" * len(LINES), "damaged"), (b"x", "damaged")):
        stored(bench, made).unlink(missing_ok=True)
        if content is not None:
            stored(bench, made).write_bytes(content)
        job = job_on(bench, made)
        assert bench.supervisor("good").run(job.id) is Outcome.FAILED
        assert error(bench, job)["code"] == f"calibration-set-{code}"


def test_a_store_that_does_not_answer_fails_the_job_clearly(
    bench: Bench, made: CalibrationSet
) -> None:
    folder = stored(bench, made).parent
    os.rename(folder, folder.with_name("elsewhere"))
    folder.write_text("in the way")
    job = job_on(bench, made)
    assert bench.supervisor("good").run(job.id) is Outcome.FAILED
    assert error(bench, job)["code"] == "calibration-set-unavailable"


def test_a_fetch_that_hangs_does_not_hold_a_cancelled_job(
    bench: Bench, made: CalibrationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is a pipe that nobody writes to: opening it waits for ever."""
    stored(bench, made).unlink()
    os.mkfifo(stored(bench, made))
    job = job_on(bench, made)
    answers = bench.beside(bench.supervisor("good"), job)
    wait_until(lambda: bench.again(job).status is Status.RUNNING, "the job runs")
    bench.store.request_cancel(job.id)
    assert wait_until(lambda: answers, "the job ends") == [Outcome.CANCELLED]
    with os.fdopen(os.open(stored(bench, made), os.O_WRONLY), "wb"):
        pass  # the reader finds the end, and goes


def test_the_housekeeper_sweeps_what_was_cut_off(
    bench: Bench, sets: CalibrationSets, made: CalibrationSet
) -> None:
    keeper = RetentionSweep(bench.settings, bench.store, bench.artifacts, bench.progress)
    assert sets.withdraw(made.id)
    keeper.look()
    assert stored(bench, made).exists()  # somebody may be removing it just now
    with sets.engine.begin() as connection:
        connection.execute(text("UPDATE calibration_sets SET created_at = '2026-01-01 00:00:00'"))
    keeper.look()
    assert bench.artifacts.children("calibration-sets") == []
    assert sets.unfinished(-1) == []


def test_a_sweep_can_be_stopped(sets: CalibrationSets, made: CalibrationSet, bench: Bench) -> None:
    sets.withdraw(made.id)
    with sets.engine.begin() as connection:
        connection.execute(text("UPDATE calibration_sets SET created_at = '2026-01-01 00:00:00'"))
    keeper = RetentionSweep(bench.settings, bench.store, bench.artifacts, bench.progress)
    keeper.over.set()
    keeper.look()
    assert stored(bench, made).exists()
    keeper.over.clear()
    keeper.look()
    assert not stored(bench, made).exists()
