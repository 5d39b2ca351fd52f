"""Working folders when those who use them and those who remove them meet."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.states import Status
from jobs.store.records import Claim, Job
from tests.worker.conftest import SPEC
from worker.job.workfolder import open_folder, sweep

JOB = "job_1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def claim(epoch: int, anew_epoch: int = 0) -> Claim:
    """An attempt at a job."""
    job = Job(
        id=JOB,
        owner="local",
        idempotency_key=None,
        spec=SPEC,
        name="a job",
        metadata={},
        status=Status.RUNNING,
        stage=None,
        lease_epoch=epoch,
        attempt=epoch,
        max_attempts=3,
        worker="w",
        lease_expires_at=NOW,
        cancel_requested=False,
        layers_total=None,
        layers_done=0,
        plan=None,
        result=None,
        error=None,
        anew_epoch=anew_epoch,
        created_at=NOW,
        queued_at=NOW,
        updated_at=NOW,
    )
    return Claim(job, epoch, epoch, NOW)


def test_a_folder_removed_while_its_lock_was_taken_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker ends the job and removes the folder between our open and our lock."""
    real: Callable[[int, int], None] = fcntl.flock
    meanwhile = [lambda: (tmp_path / JOB).rename(tmp_path / "away")]

    def late(descriptor: int, operation: int) -> None:
        if meanwhile:
            meanwhile.pop()()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with open_folder(tmp_path, claim(1)) as folder:
        assert not folder.resume
        assert folder.spec.is_file()
        with open_folder(tmp_path, claim(2)) as second:  # the lock holds others off
            assert second.path.name == f"{JOB}.2"


def test_a_folder_goes_by_its_name_first(tmp_path: Path) -> None:
    with open_folder(tmp_path, claim(1)) as folder:
        folder.remove()
        with open_folder(tmp_path, claim(2)) as second:  # tried again before we let go
            assert (second.path.name, second.resume) == (JOB, False)
        assert folder.path.is_dir()


def test_what_a_cut_off_removal_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / f"gone-{JOB}.1" / "engine").mkdir(parents=True)
    with open_folder(tmp_path, claim(1)):
        assert sweep(tmp_path, set) == []
    assert sweep(tmp_path, lambda _: set()) == []
    assert sweep(tmp_path, set) == [JOB]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_swept_holds_up_nobody(tmp_path: Path) -> None:
    (tmp_path / "job_1" / "lock").mkdir(parents=True)
    (tmp_path / "job_2").mkdir()
    assert sweep(tmp_path, lambda owners: owners) == ["job_2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job_1"]


def test_a_job_that_is_to_start_anew_finds_nothing(tmp_path: Path) -> None:
    """Neither in a folder of before it was asked to, nor in one that says nothing of its time."""
    with open_folder(tmp_path, claim(1)) as folder:
        (folder.layers / "p0").mkdir(parents=True)
        (folder.layers / "p0/layer-0.json").touch()
        (folder.engine / "whole").mkdir()
        assert folder.keep_layers()
    with open_folder(tmp_path, claim(2)) as folder:
        assert folder.resume
        assert [path.name for path in folder.engine.iterdir()] == ["layers"]
    with open_folder(tmp_path, claim(3, anew_epoch=2)) as folder:
        assert not folder.resume
        assert not folder.keep_layers()
        folder.layers.mkdir()
    with open_folder(tmp_path, claim(4, anew_epoch=2)) as folder:  # since then it may go on
        assert folder.resume
    (folder.path / "epoch").unlink()
    with open_folder(tmp_path, claim(5, anew_epoch=2)) as folder:
        assert not folder.resume
