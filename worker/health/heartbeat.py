"""`Heartbeat`: a worker's liveness, as the modification time of a file.

A worker's process can exist without consuming messages, for example after an outage of the broker.
So the heartbeat is updated when the broker answers a poll (in Celery's parent process, about once a
second), and during a job whenever the lease is checked (in the child, while the parent does not
poll). It is the modification time of a file, which every process of the machine can read, even
without the database and the broker.
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
    """The heartbeat of one worker: its parent process and its child.

    Args:
        path: the file; its folder is created for this user only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0.0

    def beat(self) -> None:
        """Update the heartbeat. Never fails, because a full disk must not stop a job."""
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
        """Remove the file on a planned end."""
        with suppress(OSError):
            self.path.unlink()


def of(work_root: Path, pid: int) -> Heartbeat:
    """The heartbeat of the worker whose parent process is `pid`."""
    return Heartbeat(_folder() / f"{_service(work_root)}-{pid}")


def all_of(work_root: Path) -> dict[int, Heartbeat]:
    """The heartbeats of this machine's workers with this work root, by pid, dead or alive."""
    found = _folder().glob(f"{_service(work_root)}-*") if _folder().is_dir() else ()
    return {int(path.name.rpartition("-")[2]): Heartbeat(path) for path in sorted(found)}


def require_own(folder: Path) -> None:
    """Refuse a folder in /tmp that another user has created.

    Raises:
        PermissionError: it is a link, not a folder, or owned by another user.
    """
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is not a folder of this user; remove it")


def _folder() -> Path:
    # Not below the work root, which machines may share and which contains only jobs.
    return Path(tempfile.gettempdir()) / f"slimgpt-{os.geteuid()}"


def _service(work_root: Path) -> str:
    return hashlib.sha256(str(work_root.absolute()).encode()).hexdigest()[:12]
