"""`Feed`: the state and newest events of one job, shared by all its followers."""

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
"""Size of the events kept here; a follower that is further behind reads from Redis."""


class Feed:
    """The state of a job and its newest events, encoded as server-sent events.

    Each follower keeps its own position and waits for `changed`; a slow one costs no memory.

    Args:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.followers = 0
        self.quiet = 0
        """Polls since the last query of the store."""
        self.state = b""
        """The newest `state` event."""
        self.source: object = None
        """What it was made of, if that is known: of the same nothing new can be made."""
        self.end: bytes | None = None
        """The last event, when the job has finished."""
        self.since: str | None = None
        """All events after this id are kept here. None: not polled yet."""
        self.position = "0-0"
        self.changed = asyncio.Event()
        self._recent: deque[tuple[tuple[int, int], str, bytes]] = deque()
        self._bytes = 0
        self._news = False

    def begin(self, last_id: str) -> None:
        """Keep the events after `last_id`."""
        self.since = self.position = last_id
        self._news = True

    def add(self, entries: Iterable[Entry]) -> None:
        """Append new events."""
        for entry in entries:
            event = sent(entry)
            self._recent.append((order(entry.id), entry.id, event))
            self._bytes += len(event)
            self.position, self._news = entry.id, True
        while len(self._recent) > RECENT or self._bytes > RECENT_BYTES:
            _, self.since, oldest = self._recent.popleft()
            self._bytes -= len(oldest)

    def tell(self, state: StatusView, source: object = None) -> None:
        """Set the job's current status, and what it was made of."""
        self.source = source
        told = format_sse_event(event="state", data_str=state.model_dump_json())
        if told != self.state:
            self.state, self._news = told, True

    def finish(self, data: str) -> None:
        """End the feed with an event `end` that has this data."""
        self.end, self._news = format_sse_event(event="end", data_str=data), True

    def wake(self) -> None:
        """Wake the followers if there is anything new."""
        if self._news:
            self._news = False
            waited, self.changed = self.changed, asyncio.Event()
            waited.set()

    def after(self, last_id: str) -> tuple[bytes, str] | None:
        """The events after an id, and the id of the last one; None if some are no longer here."""
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
    """An engine event encoded as a server-sent event."""
    return format_sse_event(id=entry.id, event=json.loads(entry.data)["type"], data_str=entry.data)


def order(entry_id: str) -> tuple[int, int]:
    """Sort key of Redis stream ids: milliseconds, then a sequence number."""
    moment, _, number = entry_id.partition("-")
    return int(moment), int(number or 0)
