"""`WorkFolder`: the working folder of a job's attempts on this machine.

    WORK_ROOT/JOB_ID/spec.json   the engine's argument
    WORK_ROOT/JOB_ID/uploads/    the uploaded texts that the job uses
    WORK_ROOT/JOB_ID/service     identity of the service's database (`jobs.store.database`)
    WORK_ROOT/JOB_ID/lock        held by the worker and its engine
    WORK_ROOT/JOB_ID/epoch       epoch of the last attempt
    WORK_ROOT/JOB_ID/engine/     the engine's working folder; kept until the job has ended

The next attempt on this machine resumes from it, unless the job was restarted from its first layer
since. The engine inherits the lock, so the lock holds while either process lives. If a worker has
lost its lease and its engine still writes, the next attempt uses a new folder, JOB_ID.EPOCH.
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
"""Prefixes of files, besides layers, that an engine resumes from."""


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
        """Folder of the uploaded texts."""
        return self.path / "uploads"

    @property
    def layers(self) -> Path:
        """Folder of finished layers."""
        return self.engine / "layers"

    def clear(self) -> None:
        """Empty the engine's working folder."""
        shutil.rmtree(self.engine, ignore_errors=True)
        self.engine.mkdir(exist_ok=True)

    def keep_layers(self) -> bool:
        """Remove everything that a retry does not resume from. False: no layer is finished."""
        if not any(self.layers.rglob(FINISHED)):
            return False
        for path in (*self.engine.iterdir(), self.uploads):
            if path != self.layers and not path.name.startswith(RESUMED):
                shutil.rmtree(path, ignore_errors=True)
        return True

    def remove(self) -> None:
        """Remove the whole folder, because the job has ended."""
        _discard(self.path)


@contextmanager
def open_folder(root: Path, claim: Claim, service: str = "") -> Iterator[WorkFolder]:
    """Lock the job's folder, or a new one for this epoch if another process holds the lock.

    Args:
        root: parent of all working folders.
        claim: the claimed job; its specification is written to `spec.json`.
        service: identity of the service's database.

    Raises:
        OSError: the disk is full or the folder cannot be written.
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
    """Remove the folders that are no longer needed. Returns their names.

    Args:
        root: parent of all working folders.
        over: takes job ids with the identity of their service ("" if unknown) and returns the ids
            whose folders can be removed; called once for all folders.
    """
    removed = []
    for path in root.glob(f"{GONE}*"):  # an interrupted removal
        shutil.rmtree(path, ignore_errors=True)
    folders = {path: path.name.split(".")[0] for path in sorted(root.glob("job_*"))}
    ended = over({job_id: _service_of(path) for path, job_id in folders.items()}) if folders else ()
    for path in [path for path, job_id in folders.items() if job_id in ended]:
        try:
            lock = _lock(path)
        except OSError as error:  # not fatal: this worker has taken a message and must claim a job
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
    """The number in a file; 0 if there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _discard(path: Path) -> None:
    """Remove a locked folder; rename it first, so that nobody resumes from a partial one."""
    gone = path.with_name(f"{GONE}{path.name}.{time.time_ns()}")
    with suppress(OSError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _lock(path: Path) -> int | None:
    """Take the folder's lock; None if another process holds it."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # removed meanwhile by the process that held it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path / "lock"):
            return descriptor
        os.close(descriptor)  # the lock of a removed folder protects nothing


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
