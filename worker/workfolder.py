"""`WorkFolder`: the disk space of a job's attempts on this machine.

    WORK_ROOT/JOB_ID/spec.json   the engine's argument
    WORK_ROOT/JOB_ID/lock        held by the worker and by the engine it started
    WORK_ROOT/JOB_ID/engine/     the engine's working folder; survives until the job has ended

The next attempt on this machine resumes from it. The lock is inherited by the engine, so it
holds for as long as either lives: when a worker lost its lease and its engine still writes, the
next attempt gets a folder of its own (JOB_ID.EPOCH) instead of a second pen on the same page.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from slimgpt.config import PruneSpec

GONE = "gone-"


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """A locked folder. `resume`: an earlier attempt has worked in it."""

    path: Path
    lock: int
    resume: bool

    @property
    def spec(self) -> Path:
        """The engine's specification."""
        return self.path / "spec.json"

    @property
    def engine(self) -> Path:
        """The engine's working folder."""
        return self.path / "engine"

    def remove(self) -> None:
        """Remove it all; the job has ended."""
        _discard(self.path)


@contextmanager
def open_folder(root: Path, job_id: str, epoch: int, spec: PruneSpec) -> Iterator[WorkFolder]:
    """Lock the job's folder, or one of this epoch's own if another process is still in there.

    Raises:
        OSError: the disk is full or the folder can't be written.
    """
    path, lock = root / job_id, None
    lock = _lock(path)
    if lock is None:
        path = root / f"{job_id}.{epoch}"
        lock = _lock(path)
        if lock is None:
            raise BlockingIOError(f"working folder {path} is in use by another process")
    try:
        folder = WorkFolder(path, lock, resume=(path / "engine").exists())
        folder.engine.mkdir(exist_ok=True)
        folder.spec.write_text(spec.model_dump_json(indent=2))
        yield folder
    finally:
        os.close(lock)


def sweep(root: Path, ended: Callable[[str], bool]) -> list[str]:
    """Remove the folders of jobs that have `ended` elsewhere. Returns their names."""
    removed = []
    for path in root.glob(f"{GONE}*"):  # a removal that was cut off
        shutil.rmtree(path, ignore_errors=True)
    for path in sorted(root.glob("job_*")) if root.is_dir() else []:
        if not ended(path.name.split(".")[0]):
            continue
        lock = _lock(path)
        if lock is not None:
            _discard(path)
            os.close(lock)
            removed.append(path.name)
    return removed


def _discard(path: Path) -> None:
    """Remove a locked folder: its name at once, so that nobody resumes what is half removed."""
    aside = path.with_name(f"{GONE}{path.name}.{time.time_ns()}")
    with suppress(OSError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _lock(path: Path) -> int | None:
    """Take the folder's lock; None if another process has it."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # removed since, by whoever had it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path / "lock"):
            return descriptor
        os.close(descriptor)  # the lock of a folder that was removed holds nobody off


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
