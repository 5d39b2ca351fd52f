"""`CtrlC`: handling of Ctrl-C that libraries cannot swallow.

Python raises KeyboardInterrupt at any point. A library may convert it to another exception or
suppress it: torch raises ValueError when it is interrupted while reading a tensor.
"""

from __future__ import annotations

import signal
from types import FrameType


class CtrlC:
    """Records that Ctrl-C was pressed; a context manager for the main thread.

    Any exception that leaves the context afterwards becomes KeyboardInterrupt.
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
