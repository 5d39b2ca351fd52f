"""What is left of an attempt that went wrong at its end, or whose lease ran out unnoticed."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jobs.files.artifacts import Artifacts
from tests.servers import wait_until
from tests.worker.conftest import Bench
from tests.worker.job.test_supervisor import child_of_engine, gone
from worker.job.supervisor import Outcome


def test_half_a_publication_is_taken_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store keeps what came before it failed; it fails at the manifest, the last file."""
    monkeypatch.setattr("jobs.files.artifacts.ATTEMPTS", 1)
    job, store = bench.job(), MemoryFileSystem()

    def full(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    bench.artifacts = Artifacts(f"memory://{job.id}")
    monkeypatch.setattr(bench.artifacts.fs, "pipe_file", full)
    assert bench.supervisor("good").run(job.id) is Outcome.FAILED
    failed = bench.again(job)
    assert failed.error is not None
    assert failed.error["code"] == "publish-failed"
    assert failed.error["message"].endswith("OSError: No space left on device")
    assert not [path for path in store.find("") if f"/jobs/{job.id}" in path]
    assert bench.work_folders() == [job.id]  # a retry publishes what these layers make
    bench.artifacts = Artifacts(bench.settings.artifacts_url)
    assert bench.store.retry(job.id)
    assert bench.supervisor("good").run(job.id) is Outcome.SUCCEEDED
    assert all(layer.resumed for layer in bench.store.layers(job.id))


def test_a_result_names_more_channels_than_a_line_of_text_usually_holds(bench: Bench) -> None:
    """Those of a model of 70B; they are in the checkpoint and stay out of the row."""
    job = bench.job()
    assert bench.supervisor("wide").run(job.id) is Outcome.SUCCEEDED
    result = bench.again(job).result
    assert result is not None
    assert result["parameters_after"] == 4500
    assert "layers" not in result


def test_a_database_that_hangs_costs_the_lease_in_time(bench: Bench, tmp_path: Path) -> None:
    """The renewing thread waits 30 s for a lock; the engine's lease is over after two."""
    job = bench.job()
    answers = bench.beside(bench.supervisor("family", tmp_path / "gate"), job)
    child = child_of_engine(bench, job)
    blocker = sqlite3.connect(str(bench.engine.url.database), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        wait_until(lambda: gone(child), "the engine is ended while the database hangs", 15)
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.LOST]
