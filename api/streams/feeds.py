"""`Feeds`: polls all followed jobs together.

Twice a second, Redis is read for new events, and the database for the state of jobs that have new
events or had none for a while. The cost is two Redis commands, one statement and one thread,
whatever the number of jobs and streams. Followers wait for their `Feed`.

A hanging Redis does not delay states (`jobs.messages.progress`); a hanging database, no events.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from api.schemas.job_status import job_status
from api.schemas.jobs import StatusView
from api.streams.feed import Feed
from jobs.messages.progress import ProgressReader
from jobs.states import HELD, TERMINAL
from jobs.store.store import Store

LOOK_SECONDS = 0.5
ASK_STORE_EVERY = 4  # polls without new events
STORE_SECONDS = 1.0
"""Longest time that events wait for the state that precedes them."""
log = structlog.get_logger(__name__)


class Feeds:
    """The jobs followed in this process; used on its event loop only.

    Args:
        store: source of states.
        reader: source of events.
    """

    def __init__(self, store: Store, reader: ProgressReader) -> None:
        self._store = store
        self._reader = reader
        self._feeds: dict[str, Feed] = {}
        self._looking: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None

    @contextmanager
    def follow(self, state: StatusView) -> Iterator[Feed]:
        """The feed of an unfinished job, while the context lasts.

        Args:
            state: the job's current state.
        """
        feed = self._feeds.setdefault(state.id, Feed(state.id))
        feed.followers += 1
        feed.tell(state)
        if self._looking is None or self._looking.done():
            # With an empty context: the task serves all followers, not only this request.
            self._looking = asyncio.create_task(self._look_on(), context=contextvars.Context())
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                self._drop(feed)

    async def close(self) -> None:
        """Stop polling."""
        for task in (self._looking, self._asking):
            if task is not None:
                task.cancel()
        await asyncio.gather(*filter(None, (self._looking, self._asking)), return_exceptions=True)

    def _drop(self, feed: Feed) -> None:
        if self._feeds.get(feed.job_id) is feed:
            del self._feeds[feed.job_id]

    async def _look_on(self) -> None:
        while self._feeds:
            try:
                await self._look([*self._feeds.values()])
            except Exception:  # otherwise all streams would stop
                log.exception("those who follow jobs were not told")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, feeds: Sequence[Feed]) -> None:
        await self._begin([feed for feed in feeds if feed.since is None])
        known = {feed.job_id: feed.position for feed in feeds if feed.since is not None}
        found = (await self._reader.after(known) if known else None) or {}
        due = []
        for feed in feeds:
            feed.add(found.get(feed.job_id, ()))
            feed.quiet += 1
            if feed.job_id in found or feed.quiet >= ASK_STORE_EVERY:
                due.append(feed)
        if due and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask_store(due))
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=STORE_SECONDS)
        for feed in feeds:
            feed.wake()

    async def _begin(self, new: Sequence[Feed]) -> None:
        last = await self._reader.last([feed.job_id for feed in new]) if new else None
        for feed in new if last is not None else ():
            feed.begin((last or {}).get(feed.job_id, "0-0"))

    async def _ask_store(self, due: Sequence[Feed]) -> None:
        try:
            rows = await run_in_threadpool(self._store.status_rows, [f.job_id for f in due])
        except SQLAlchemyError as error:
            log.warning("states are not told", reason=type(error).__name__)
            return
        held = [job_id for job_id, row in rows.items() if row.status in HELD]
        snapshots = await self._reader.read_all(held) if held else {}
        for feed in due:
            feed.quiet = 0
            row = rows.get(feed.job_id)
            if row is None:
                self._finish(feed, json.dumps({"id": feed.job_id, "status": "deleted"}))
                continue
            source = row, snapshots.get(feed.job_id)
            if source == feed.source:  # as of most jobs, which wait
                continue
            state = job_status(*source)
            if state.status in TERMINAL:
                await self._rest(feed)
                self._finish(feed, state.model_dump_json())
            else:
                feed.tell(state, source)

    async def _rest(self, feed: Feed) -> None:
        """Read the last events of a finished job, which may have arrived between the reads of
        Redis and the store."""
        while feed.since is not None:
            found = await self._reader.after({feed.job_id: feed.position}) or {}
            if feed.job_id not in found:
                return
            feed.add(found[feed.job_id])

    def _finish(self, feed: Feed, data: str) -> None:
        feed.finish(data)
        self._drop(feed)  # if the job is retried, new followers get a new feed
