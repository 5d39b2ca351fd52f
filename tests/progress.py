"""What Redis knows of a job, read as the API reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from jobs.messages.progress import Entry, Progress, ProgressReader, breaker
from jobs.messages.snapshot import Snapshot

T = TypeVar("T")


def snapshot(progress: Progress, job_id: str) -> Snapshot | None:
    """The latest state, with all that this writer has recorded."""
    return _asked(progress, lambda reader: reader.read(job_id))


def entries(progress: Progress, job_id: str, after: str = "0") -> list[Entry]:
    """The events after one, with all that this writer has recorded."""

    async def read(reader: ProgressReader) -> list[Entry]:
        found: list[Entry] = []
        place = after
        while page := (await reader.after({job_id: place}) or {}).get(job_id):
            found += page
            place = page[-1].id
        return found

    return _asked(progress, read)


def _asked(progress: Progress, question: Callable[[ProgressReader], Awaitable[T]]) -> T:
    progress.settle()
    where = progress.redis.connection_pool.connection_kwargs

    async def ask() -> T:
        reader = ProgressReader(f"redis://{where['host']}:{where['port']}/0", breaker())
        try:
            return await question(reader)
        finally:
            await reader.close()

    return asyncio.run(ask())
