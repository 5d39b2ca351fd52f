"""`RateLimitHandler`: a log's handler that counts what is repeated instead of writing it all.

One fault that strikes a thousand times a second must not fill the disk: of warnings and worse that
are alike the first are written, then one every so often, and between them how many there were.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TextIO

BURST = 20
"""Entries of a kind that are written at once."""
EVERY_SECONDS = 10.0
"""Then one in so long a time."""
KINDS = 500
"""So many are told apart; of those not seen for longest it is forgotten that they came."""
_NUMBERED = re.compile(r"\w*\d\w*")
Kind = tuple[Any, ...]


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float
    """When `left` was what it is."""
    record: logging.LogRecord
    unwritten: int = 0
    due: float = math.inf
    """When those that were not written are to be told."""


class RateLimitHandler(logging.StreamHandler[TextIO]):
    """Writes entries; below WARNING all of them.

    Entries are alike when logger, level, words, kind of exception and job are: numbers and ids in
    the words make no difference.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._known: OrderedDict[Kind, _Allowance] = OrderedDict()
        self._due = math.inf

    def emit(self, record: logging.LogRecord) -> None:
        """Write the entry, or count it; say first what was counted and is due."""
        now = time.monotonic()
        if now >= self._due:
            for allowance in self._known.values():
                if now >= allowance.due:
                    self._tell(allowance, now)
            self._due = min((one.due for one in self._known.values()), default=math.inf)
        if record.levelno < logging.WARNING or self._allowed(record, now):
            super().emit(record)

    def close(self) -> None:
        """Say what was counted and not told yet."""
        self.acquire()
        try:
            for allowance in self._known.values():
                if allowance.unwritten:
                    self._tell(allowance, time.monotonic())
        finally:
            self.release()
        super().close()

    def _allowed(self, record: logging.LogRecord, now: float) -> bool:
        kind = _kind(record)
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = _Allowance(float(BURST), now, record)
        self._known.move_to_end(kind)
        if len(self._known) > KINDS:
            _, oldest = self._known.popitem(last=False)
            if oldest.unwritten:
                self._tell(oldest, now)
        known.left = min(float(BURST), known.left + (now - known.at) / EVERY_SECONDS)
        known.at = now
        if known.left >= 1:
            known.left -= 1
            return True
        if not known.unwritten:
            known.due = now + EVERY_SECONDS
            self._due = min(self._due, known.due)
        known.unwritten += 1
        known.record = record
        return False

    def _tell(self, allowance: _Allowance, now: float) -> None:
        """The last of the entries that were not written, and how many they were."""
        words = f"{allowance.unwritten} entries like this were counted, not written: "
        told = {
            "name": allowance.record.name,
            "levelno": allowance.record.levelno,
            "levelname": allowance.record.levelname,
            "msg": words + _words(allowance.record)[:1000],
        }
        allowance.unwritten, allowance.due = 0, math.inf
        allowance.left, allowance.at = 0.0, now
        super().emit(logging.makeLogRecord(told))


def _kind(record: logging.LogRecord) -> Kind:
    fields = record.msg if isinstance(record.msg, dict) else {}
    error = (record.exc_info or (None,))[0] or type(fields.get("exc_info"))
    words = _NUMBERED.sub("#", _words(record)[:200])
    return record.name, record.levelno, words, error, fields.get("job")


def _words(record: logging.LogRecord) -> str:
    """What an entry says, without its fields: as structlog hands it over, or a library."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))
    return str(record.msg)
