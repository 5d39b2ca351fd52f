"""Working folders when those who use them and those who remove them meet."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.conftest import SPEC
from worker.job.workfolder import open_folder, sweep

JOB = "job_1"


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
    with open_folder(tmp_path, JOB, 1, SPEC) as folder:
        assert not folder.resume
        assert folder.spec.is_file()
        with open_folder(tmp_path, JOB, 2, SPEC) as second:  # the lock holds others off
            assert second.path.name == f"{JOB}.2"


def test_a_folder_goes_by_its_name_first(tmp_path: Path) -> None:
    with open_folder(tmp_path, JOB, 1, SPEC) as folder:
        folder.remove()
        with open_folder(tmp_path, JOB, 2, SPEC) as second:  # tried again before we let go
            assert (second.path.name, second.resume) == (JOB, False)
        assert folder.path.is_dir()


def test_what_a_cut_off_removal_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / f"gone-{JOB}.1" / "engine").mkdir(parents=True)
    with open_folder(tmp_path, JOB, 1, SPEC):
        assert sweep(tmp_path, set) == []
    assert sweep(tmp_path, lambda _: set()) == []
    assert sweep(tmp_path, set) == [JOB]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_swept_holds_up_nobody(tmp_path: Path) -> None:
    (tmp_path / "job_1" / "lock").mkdir(parents=True)
    (tmp_path / "job_2").mkdir()
    assert sweep(tmp_path, lambda owners: owners) == ["job_2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job_1"]
