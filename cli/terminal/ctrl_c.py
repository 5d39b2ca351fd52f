"""`CtrlC`: handling of Ctrl-C that libraries cannot swallow.

Python raises KeyboardInterrupt wherever it is. Where that is within a library's own code, it may
come out as another exception, or not at all: torch makes a ValueError of it as it reads a tensor.
"""

from __future__ import annotations

import signal
from types import FrameType


class CtrlC:
    """Remembers that Ctrl-C was pressed; a context manager of the main thread.

    Whatever exception leaves the context after it was pressed leaves as KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._pressed = False

    def __enter__(self) -> CtrlC:
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if isinstance(error, Exception):
            self.raise_if_pressed()

    def raise_if_pressed(self) -> None:
        """Raise KeyboardInterrupt if it was pressed."""
        if self._pressed:
            raise KeyboardInterrupt

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        raise KeyboardInterrupt
