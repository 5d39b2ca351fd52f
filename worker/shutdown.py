"""`ShutdownFlag`: signals a planned shutdown from Celery's parent to its forked child.

Celery's parent process receives the signal, but not the child that runs the task. The flag is a
pipe created before the fork: the parent's signal handler writes a byte that is never read, so every
child sees that the pipe is readable, at any time, without a lock.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class ShutdownFlag:
    """Clear until `set` is called, here or in the process that forked this one."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Set the flag; safe in a signal handler."""
        with contextlib.suppress(BlockingIOError):  # full: set already
            os.write(self._write, b"!")

    def is_set(self) -> bool:
        """Whether the flag is set."""
        return bool(select.select([self._read], [], [], 0)[0])

    def raise_on_signals(self) -> None:
        """Set the flag on TERM, INT and QUIT, then call the previous signal handlers."""
        for number in SIGNALS:
            self._chain(number, signal.getsignal(number))

    def _chain(self, number: signal.Signals, before: Any) -> None:
        def handle(received: int, frame: FrameType | None) -> None:
            self.set()
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self._write)
