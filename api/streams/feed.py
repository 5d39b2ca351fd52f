"""`Feed`: what is new of one job, once for all who follow it."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from itertools import takewhile

from fastapi.sse import format_sse_event

from api.schemas.jobs import StatusView
from jobs.messages.progress import Entry

RECENT = 200
RECENT_BYTES = 1 << 20
"""Of events that are kept here; who is further behind reads Redis for itself."""


class Feed:
    """The state of a job and its newest events, as bytes of a stream.

    Those who follow keep their own place in it and wait for `changed`: a slow one costs no memory.

    Args:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.followers = 0
        self.quiet = 0
        """Looks since the store was asked."""
        self.state = b""
        """The newest `state` event."""
        self.source: object = None
        """What it was made of, if that is known: of the same nothing new can be made."""
        self.end: bytes | None = None
        """The last event of all, when the job is over."""
        self.since: str | None = None
        """The events after this one are here, but for those that are still to come. None: nobody
        has looked yet."""
        self.position = "0-0"
        self.changed = asyncio.Event()
        self._recent: deque[tuple[tuple[int, int], str, bytes]] = deque()
        self._bytes = 0
        self._news = False

    def begin(self, last_id: str) -> None:
        """Events are kept from the one after `last_id` on."""
        self.since = self.position = last_id
        self._news = True

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep events that came after all others."""
        for entry in entries:
            event = sent(entry)
            self._recent.append((order(entry.id), entry.id, event))
            self._bytes += len(event)
            self.position, self._news = entry.id, True
        while len(self._recent) > RECENT or self._bytes > RECENT_BYTES:
            _, self.since, oldest = self._recent.popleft()
            self._bytes -= len(oldest)

    def tell(self, state: StatusView, source: object = None) -> None:
        """What the job's status is now, and what it was made of."""
        self.source = source
        told = format_sse_event(event="state", data_str=state.model_dump_json())
        if told != self.state:
            self.state, self._news = told, True

    def finish(self, data: str) -> None:
        """The job is over: `data` is what the last event says."""
        self.end, self._news = format_sse_event(event="end", data_str=data), True

    def wake(self) -> None:
        """Have those who wait look, if there is anything new."""
        if self._news:
            self._news = False
            waited, self.changed = self.changed, asyncio.Event()
            waited.set()

    def after(self, last_id: str) -> tuple[bytes, str] | None:
        """The events after one, and the id of the last of them; None if they are not all here."""
        if self.since is None:
            return b"", last_id
        place = order(last_id)
        if place < order(self.since):
            return None
        # From the newest back: most who ask lack the last few of many, and many ask at once.
        later = [*takewhile(lambda kept: kept[0] > place, reversed(self._recent))]
        if not later:
            return b"", last_id
        return b"".join(event for _, _, event in reversed(later)), later[0][1]


def sent(entry: Entry) -> bytes:
    """An event of the engine as it is sent."""
    return format_sse_event(id=entry.id, event=json.loads(entry.data)["type"], data_str=entry.data)


def order(entry_id: str) -> tuple[int, int]:
    """Sorts ids of a Redis stream: milliseconds, and a number within them."""
    moment, _, number = entry_id.partition("-")
    return int(moment), int(number or 0)
