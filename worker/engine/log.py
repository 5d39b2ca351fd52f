"""`EngineLog`: the engine's stderr as rate-limited entries of the worker's log.

Each line becomes an entry with the ids of the job and its attempt. A progress bar can write a
hundred thousand lines an hour, so entries are limited: a burst, then a few per second. The rest is
counted. `EngineProcess.tail` keeps the last output in full.
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
    """Logs the bytes read from a pipe, line by line."""

    def __init__(self) -> None:
        self._rest = b""
        self._allowed = float(BURST)
        self._counted = time.monotonic()
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Log the lines that this chunk completes."""
        *lines, rest = _ENDS.split(self._rest + chunk)
        self._rest = rest[: 2 * LINE_BYTES]  # bounds a line without an end
        for line in lines:
            self._say(line)

    def close(self) -> None:
        """Log the last line, and the number of dropped lines."""
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
