"""`MemoryWatch`: resident memory of the engine's processes while they run.

The kernel tells the peak of a process when it has ended, but not what was used at the end, nor what
the machine had left.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

LOOK_SECONDS = 1.0


def resident_bytes(processes: Iterable[psutil.Process]) -> int:
    """Resident memory of those that have not ended; shared memory counts in each."""
    held = 0
    for process in processes:
        with suppress(psutil.Error):
            held += process.memory_info().rss
    return held


class MemoryWatch:
    """Looks at a process and its children, at most once a second.

    Args:
        pid: of the engine.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._looked = -LOOK_SECONDS
        self.memory_bytes: int | None = None
        """Of all processes together when last looked at; shared memory counts in each."""
        self.available_bytes: int | None = None
        """What the machine could still give away then."""

    def look(self) -> None:
        """Note the memory; never fails, since the processes may end at any time."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with suppress(psutil.Error, OSError):
            engine = psutil.Process(self._pid)
            held = resident_bytes([engine, *engine.children(recursive=True)])
            if held:
                self.memory_bytes = held
                self.available_bytes = psutil.virtual_memory().available
