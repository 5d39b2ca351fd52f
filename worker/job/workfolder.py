"""`WorkFolder`: the disk space of a job's attempts on this machine.

    WORK_ROOT/JOB_ID/spec.json   the engine's argument
    WORK_ROOT/JOB_ID/uploads/    the uploaded texts that it names
    WORK_ROOT/JOB_ID/service     whose job it is (`jobs.store.database`)
    WORK_ROOT/JOB_ID/lock        held by the worker and by the engine it started
    WORK_ROOT/JOB_ID/epoch       of the last attempt that worked in it
    WORK_ROOT/JOB_ID/engine/     the engine's working folder; survives until the job has ended

The next attempt on this machine resumes from it, unless the job was to start anew since. The lock
is inherited by the engine, so it holds for as long as either lives: when a worker lost its lease
and its engine still writes, the next attempt gets a folder of its own (JOB_ID.EPOCH) instead of a
second pen on the same page.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from jobs.store.records import Claim

log = structlog.get_logger(__name__)
GONE = "gone-"
SERVICE = "service"
EPOCH = "epoch"
FINISHED = "layer-*"
RESUMED = ("recovery-", "tasks")
"""Beside layers, what an engine goes on from."""


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

    @property
    def uploads(self) -> Path:
        """Where the uploaded texts are that the engine may read."""
        return self.path / "uploads"

    @property
    def layers(self) -> Path:
        """Where the engine keeps finished layers."""
        return self.engine / "layers"

    def clear(self) -> None:
        """Remove what the engine has done so far."""
        shutil.rmtree(self.engine, ignore_errors=True)
        self.engine.mkdir(exist_ok=True)

    def keep_layers(self) -> bool:
        """Remove all but what a retry goes on from. False: there is nothing of that kind."""
        if not any(self.layers.rglob(FINISHED)):
            return False
        for path in (*self.engine.iterdir(), self.uploads):
            if path != self.layers and not path.name.startswith(RESUMED):
                shutil.rmtree(path, ignore_errors=True)
        return True

    def remove(self) -> None:
        """Remove it all; the job has ended."""
        _discard(self.path)


@contextmanager
def open_folder(root: Path, claim: Claim, service: str = "") -> Iterator[WorkFolder]:
    """Lock the job's folder, or one of this epoch's own if another process is still in there.

    Args:
        root: below which working folders are.
        claim: the job, the attempt's epoch, and what the engine is to read.
        service: identity of the service in whose database the job is.

    Raises:
        OSError: the disk is full or the folder can't be written.
    """
    path, lock = root / claim.job.id, None
    lock = _lock(path)
    if lock is None:
        path = root / f"{claim.job.id}.{claim.epoch}"
        lock = _lock(path)
        if lock is None:
            raise BlockingIOError(f"working folder {path} is in use by another process")
    try:
        if _number(path / EPOCH) <= claim.job.anew_epoch > 0:
            shutil.rmtree(path / "engine", ignore_errors=True)
        folder = WorkFolder(path, lock, resume=(path / "engine").exists())
        folder.engine.mkdir(exist_ok=True)
        folder.spec.write_text(claim.spec.model_dump_json(indent=2))
        (path / SERVICE).write_text(service)
        (path / EPOCH).write_text(str(claim.epoch))
        yield folder
    finally:
        os.close(lock)


def sweep(root: Path, over: Callable[[Mapping[str, str]], Collection[str]]) -> list[str]:
    """Remove the folders of jobs that need them no more. Returns their names.

    Args:
        root: below which working folders are.
        over: of many jobs, each with the identity of its service, "" where that is not known:
            which are over. Asked once for all.
    """
    removed = []
    for path in root.glob(f"{GONE}*"):  # a removal that was cut off
        shutil.rmtree(path, ignore_errors=True)
    folders = {path: path.name.split(".")[0] for path in sorted(root.glob("job_*"))}
    ended = over({job_id: _service_of(path) for path, job_id in folders.items()}) if folders else ()
    for path in [path for path, job_id in folders.items() if job_id in ended]:
        try:
            lock = _lock(path)
        except OSError as error:  # no reason not to work: a message has been taken for it
            log.warning("a working folder cannot be removed", folder=path.name, error=str(error))
            continue
        if lock is not None:
            _discard(path)
            os.close(lock)
            removed.append(path.name)
    return removed


def _service_of(path: Path) -> str:
    try:
        return (path / SERVICE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _number(path: Path) -> int:
    """What a file says; 0 where there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


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
