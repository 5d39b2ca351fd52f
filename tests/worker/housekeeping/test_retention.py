"""What is removed beside the reaper, by looks that any number of processes may take."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from jobs.files.artifacts import Artifacts
from jobs.states import Status
from jobs.store.database import identity, make_engine
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.progress import entries
from tests.servers import wait_until
from tests.worker.conftest import Bench
from worker.housekeeping.orphan_sweep import OrphanSweep
from worker.housekeeping.retention import ArtifactsAway, RetentionSweep
from worker.job.supervisor import Outcome


def housekeeper(bench: Bench, **changes: Any) -> RetentionSweep:
    settings = bench.settings.model_copy(update=changes)
    return RetentionSweep(settings, bench.store, bench.artifacts, bench.progress)


def done(bench: Bench, days_ago: float = 0.0) -> str:
    """A job that a worker has done, so long ago."""
    job = bench.job()
    assert bench.supervisor("good").run(job.id) is Outcome.SUCCEEDED
    then = datetime.now(UTC) - timedelta(days=days_ago)
    with bench.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(finished_at=then))
    return job.id


def prefixes(bench: Bench) -> list[str]:
    """Folders of attempts, published or shared."""
    found = [
        f"{kind}/{job}/{epoch}"
        for kind in ("jobs", "work")
        for job in bench.artifacts.children(kind)
        for epoch in bench.artifacts.children(f"{kind}/{job}")
    ]
    return [name.replace(job, "JOB") for name in found for job in [name.split("/")[1]]]


def test_files_go_by_age_and_by_size_and_records_at_last(bench: Bench) -> None:
    old, younger, young = done(bench, 9), done(bench, 5), done(bench, 1)
    size = bench.again(bench.store.get(young)).artifacts_bytes  # type: ignore[arg-type]
    assert size == sum(file.size for file in bench.artifacts.list(f"jobs/{young}/1")) > 0
    housekeeper(bench).look()  # nothing is set: nothing goes
    assert len(bench.artifacts.children("jobs")) == 3
    housekeeper(bench, artifact_days=7.0).look()
    assert bench.artifacts.children("jobs") == sorted([younger, young])
    housekeeper(bench, artifact_bytes=size).look()
    assert bench.artifacts.children("jobs") == [young]
    housekeeper(bench, record_days=3.0).look()
    assert [job.id for job in bench.store.list().items] == [young]
    assert entries(bench.progress, old) == []
    assert entries(bench.progress, young) != []


@pytest.mark.parametrize("error", [PermissionError("no"), RuntimeError("ClientError")])
def test_what_cannot_be_removed_now_is_removed_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    kept, gone = done(bench, 2), done(bench, 2)
    remove = Artifacts.delete

    def refuse(self: Artifacts, prefix: str) -> None:
        if kept in prefix:
            raise error
        remove(self, prefix)

    monkeypatch.setattr(Artifacts, "delete", refuse)
    tidy = housekeeper(bench, artifact_days=1.0)
    tidy.look()
    assert bench.artifacts.children("jobs") == [kept]
    job = bench.store.get(gone)
    assert job is not None
    assert job.artifacts_removed_at is not None
    monkeypatch.undo()
    tidy.look()
    assert bench.artifacts.children("jobs") == []


def test_files_that_stay_for_ever_do_not_hold_up_those_that_come_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three that fail look like a store that is away; the next look ends with them."""
    locked, gone = [done(bench, 2) for _ in range(3)], done(bench, 2)
    remove = Artifacts.delete

    def refuse(self: Artifacts, prefix: str) -> None:
        if prefix.split("/")[1] in locked:
            raise PermissionError("the object is locked")
        remove(self, prefix)

    monkeypatch.setattr(Artifacts, "delete", refuse)
    tidy = housekeeper(bench, artifact_days=1.0)
    with pytest.raises(ArtifactsAway):
        tidy.look()
    assert gone in bench.artifacts.children("jobs")
    with pytest.raises(ArtifactsAway):
        tidy.look()
    assert bench.artifacts.children("jobs") == sorted(locked)
    monkeypatch.undo()
    tidy.look()
    assert bench.artifacts.children("jobs") == []


def test_a_worker_that_publishes_after_the_sweep_and_dies_leaves_nothing(bench: Bench) -> None:
    """Suspended in epoch 1 while epoch 2 finished; it wrote on, and died before its own tidying."""
    job = bench.job()
    assert bench.store.claim(job.id, "suspended")
    bench.store.reap(datetime.now(UTC) + timedelta(days=1))
    assert bench.supervisor("good").run(job.id) is Outcome.SUCCEEDED
    tidy = housekeeper(bench)
    tidy.look()
    assert bench.store.unswept() == []
    for prefix in (f"jobs/{job.id}/1", f"work/{job.id}/1"):
        bench.artifacts.write(prefix, "model.safetensors", b"late")
    assert OrphanSweep(bench.store, bench.artifacts).walk() != []
    assert prefixes(bench) == ["jobs/JOB/2"]


def test_the_files_of_a_job_deleted_under_its_worker_are_found(bench: Bench) -> None:
    orphan_sweep = OrphanSweep(bench.store, bench.artifacts)
    assert orphan_sweep.walk() == []  # marks the place
    kept, running = done(bench), bench.job()
    assert bench.store.claim(running.id, "w")
    bench.artifacts.write(f"work/{running.id}/1", "layer", b"x")
    bench.artifacts.write("jobs/job_deleted/1", "model.safetensors", b"late")
    assert orphan_sweep.walk() == ["jobs/job_deleted"]
    assert orphan_sweep.walk() == []
    assert bench.artifacts.list(f"jobs/{kept}/1")
    assert prefixes(bench) == ["jobs/JOB/1", "work/JOB/1"]


def test_a_copy_of_the_database_does_not_tidy_up_after_the_original(
    bench: Bench, tmp_path: Path
) -> None:
    """A trial on yesterday's backup, with the settings of production still in its environment."""
    assert OrphanSweep(bench.store, bench.artifacts).walk() == []
    file, copy = bench.engine.url.database, tmp_path / "copy.db"
    assert file is not None
    with closing(sqlite3.connect(file)) as original, closing(sqlite3.connect(copy)) as backup:
        original.backup(backup)
    today = done(bench)
    engine = make_engine(f"sqlite:///{copy}")
    assert OrphanSweep(Store(engine), bench.artifacts).walk() == []
    engine.dispose()
    assert bench.artifacts.children("jobs") == [today]


def test_a_place_with_the_files_of_strangers_is_not_taken(bench: Bench) -> None:
    bench.artifacts.write("jobs/job_of_others/1", "model.safetensors", b"theirs")
    orphan_sweep = OrphanSweep(bench.store, bench.artifacts)
    assert orphan_sweep.walk() == []
    assert orphan_sweep.walk() == []
    assert bench.artifacts.children("jobs") == ["job_of_others"]
    assert bench.artifacts.children("service") == []


def test_databases_know_themselves(database_url: str, tmp_path: Path) -> None:
    engine, again = make_engine(database_url), make_engine(database_url)
    other = make_engine(f"sqlite:///{tmp_path / 'other.db'}")
    other.connect().close()
    assert identity(engine) == identity(again) != ""
    assert identity(engine) != identity(other)
    for made in (engine, again, other):
        made.dispose()


def test_the_working_folder_of_a_deleted_job_is_swept_with_one_question(bench: Bench) -> None:
    root = bench.settings.work_root
    deleted, foreign = bench.job(), root / "job_foreign"
    assert bench.supervisor("crash").run(deleted.id) is Outcome.FAILED
    folder = root / deleted.id  # of a worker that was away when the job ended
    for path, service in ((folder, identity(bench.engine)), (foreign, "another service")):
        path.mkdir(exist_ok=True)  # a failed job's layers wait in it
        (path / "service").write_text(service)
    (root / "job_old").mkdir()  # of a worker that left no mark yet
    job = bench.store.get(deleted.id)
    assert job is not None
    assert bench.store.remove(job)
    bench.supervisor("good").run(bench.job().id)
    assert bench.work_folders() == ["job_foreign", "job_old"]


def test_the_program_tidies_with_its_settings(bench: Bench, redis_url: str) -> None:
    old, young = done(bench, 9), done(bench, 1)
    environment = os.environ | {
        "SLIMGPT_HOME": str(bench.settings.home),
        "SLIMGPT_DATABASE_URL": bench.settings.database_url.get_secret_value(),
        "SLIMGPT_REDIS_URL": redis_url,
        "SLIMGPT_ARTIFACT_DAYS": "7",
        "SLIMGPT_ARTIFACT_BYTES": "1GiB",
        "SLIMGPT_HOUSEKEEPING_SECONDS": "0.2",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.housekeeping.reaper"],
        env=environment,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: bench.artifacts.children("jobs") == [young], "the old files are gone", 90)
    wait_until(lambda: bench.store.unswept() == [], "all is swept", 90)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 0
    assert said.count(b'"files expired"') == 1
    job = bench.store.get(old)
    assert job is not None
    assert job.status is Status.SUCCEEDED


def test_an_object_store_is_swept_and_walked_through_alike(bench: Bench, bucket_url: str) -> None:
    store, artifacts = bench.store, Artifacts(bucket_url)
    tidy = RetentionSweep(bench.settings, store, artifacts, bench.progress)
    tidy.look()  # marks the place
    job = bench.job()
    assert store.claim(job.id, "suspended")
    artifacts.write(f"jobs/{job.id}/1", "half", b"of it")
    artifacts.write(f"work/{job.id}/1", "layers/0", b"a layer")
    store.reap(datetime.now(UTC) + timedelta(days=1))
    assert store.claim(job.id, "w")
    artifacts.write(f"jobs/{job.id}/2", "model.safetensors", b"all of it")
    assert store.finish(job.id, 2, prefix=f"jobs/{job.id}/2", result={}, report={})
    tidy.look()
    assert (artifacts.children(f"jobs/{job.id}"), artifacts.children("work")) == (["2"], [])
    artifacts.write(f"jobs/{job.id}/1", "late", b"by the suspended one")
    artifacts.write("work/job_deleted/3", "layers/0", b"too late")
    removed = OrphanSweep(store, artifacts).walk()
    assert removed == [f"jobs/{job.id}/1", "work/job_deleted"]
    assert (artifacts.children(f"jobs/{job.id}"), artifacts.children("work")) == (["2"], [])
