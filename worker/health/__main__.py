"""Container health check: `python -m worker.health` exits 0 while this machine's workers are alive.

For the health check of a container. It reads only heartbeats, not the database or the broker: a
worker that runs a job is healthy during their outages.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import psutil

from jobs.settings import BadSettings, load
from worker.health.heartbeat import Heartbeat, all_of

SILENT_SECONDS = 60.0
"""Longer than a worker needs to reconnect to the broker."""
CLOCK_SECONDS = 2.0
"""Tolerance between a process's start time and a file's modification time."""


def look(work_root: Path) -> tuple[bool, str]:
    """Whether there is a worker and all send heartbeats; and a message."""
    alive = {pid: heart for pid, heart in all_of(work_root).items() if _lives(pid, heart)}
    if not alive:
        return False, f"no worker with the work folder {work_root} has started on this machine"
    words, healthy = [], True
    for pid, heart in alive.items():
        seconds = heart.seconds()
        fresh = seconds is not None and seconds < SILENT_SECONDS
        healthy = healthy and fresh
        when = "never" if seconds is None else f"{seconds:.0f} s ago"
        words.append(f"worker {pid} {'works' if fresh else 'is silent'}, last sign of life {when}")
    return healthy, "; ".join(words)


def _lives(pid: int, heart: Heartbeat) -> bool:
    """Whether the process of the heartbeat is alive; a younger process may have its pid."""
    try:
        began = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return began - CLOCK_SECONDS < (heart.at() or 0.0)


def main() -> None:
    """Print one line; exit with 0 if healthy, else 1."""
    try:
        healthy, words = look(load().work_root)
    except BadSettings as error:
        sys.exit(str(error))
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{words}\n")
    sys.exit(0 if healthy else 1)


if __name__ == "__main__":
    main()
