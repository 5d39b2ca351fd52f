"""`Heartbeat`: a worker's liveness, as the modification time of a file.

A worker can live and consume nothing, for instance after its broker was lost; that its process
exists says little. Its heart beats when the broker answered a poll for messages (in Celery's
parent process, about once a second), and while it holds a job, each time it looked after the
lease (in the child, where the parent doesn't poll). The beat is the time of change of a file,
which any process of this machine can look at, whatever the database and the broker do.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog

BEAT_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Heartbeat:
    """The beat of one worker: its parent process and the child that works.

    Args:
        path: the file; its folder is made, for this user alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0.0

    def beat(self) -> None:
        """Note that the worker does its work. Never fails: a full disk must not stop a job."""
        now = time.monotonic()
        if now - self._last < BEAT_SECONDS:
            return
        self._last = now
        try:
            with suppress(FileExistsError):
                self.path.parent.mkdir(mode=0o700)
            require_own(self.path.parent)
            self.path.touch()
        except OSError as error:
            log.warning("the heartbeat can't be written", reason=str(error))

    def seconds(self) -> float | None:
        """Seconds since the last beat, None before the first."""
        at = self.at()
        return None if at is None else max(0.0, time.time() - at)

    def at(self) -> float | None:
        """Unix time of the last beat, None before the first."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None

    def stop(self) -> None:
        """The worker has ended on purpose."""
        with suppress(OSError):
            self.path.unlink()


def of(work_root: Path, pid: int) -> Heartbeat:
    """The heartbeat of the worker whose parent process is `pid`."""
    return Heartbeat(_folder() / f"{_service(work_root)}-{pid}")


def all_of(work_root: Path) -> dict[int, Heartbeat]:
    """The heartbeats of the workers of this machine that work there, by process; dead or alive."""
    found = _folder().glob(f"{_service(work_root)}-*") if _folder().is_dir() else ()
    return {int(path.name.rpartition("-")[2]): Heartbeat(path) for path in sorted(found)}


def require_own(folder: Path) -> None:
    """Refuse a folder that somebody else has laid where everybody may write.

    Raises:
        PermissionError: it is a link, no folder, or another user's.
    """
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user; remove it")


def _folder() -> Path:
    # Not the work root: several machines may share that, and it holds jobs alone.
    return Path(tempfile.gettempdir()) / f"slimgpt-{os.geteuid()}"


def _service(work_root: Path) -> str:
    return hashlib.sha256(str(work_root.absolute()).encode()).hexdigest()[:12]
