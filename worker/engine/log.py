"""`EngineLog`: the engine's stderr as rate-limited entries of the worker's log.

Each line becomes an entry with the ids of the job and its attempt. A progress bar writes a hundred
thousand lines an hour, so there are only so many: a burst at once, then a few a second. The rest
is counted. What the engine wrote last is kept apart, in full, for when it breaks
(`EngineProcess.tail`).
"""

from __future__ import annotations

import re
import time

import structlog

BURST = 50
LINES_A_SECOND = 2.0
LINE_BYTES = 1000
_ENDS = re.compile(rb"[\r\n]+")
log = structlog.get_logger(__name__)


class EngineLog:
    """Takes bytes as they come from a pipe."""

    def __init__(self) -> None:
        self._rest = b""
        self._allowed = float(BURST)
        self._counted = time.monotonic()
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Log the lines that are complete with this chunk."""
        *lines, rest = _ENDS.split(self._rest + chunk)
        self._rest = rest[: 2 * LINE_BYTES]  # a line without end is not kept in full
        for line in lines:
            self._say(line)

    def close(self) -> None:
        """The engine writes no more."""
        self._say(self._rest)
        self._rest = b""
        if self._dropped:
            log.info("the engine wrote more than is logged", lines=self._dropped)

    def _say(self, line: bytes) -> None:
        if not line.strip():
            return
        now = time.monotonic()
        self._allowed = min(float(BURST), self._allowed + (now - self._counted) * LINES_A_SECOND)
        self._counted = now
        if self._allowed < 1:
            self._dropped += 1
            return
        self._allowed -= 1
        log.info("engine", line=line[:LINE_BYTES].decode(errors="replace"))
