"""Artifact store access on a thread pool of its own, and streamed file responses.

An object store that hangs is given up after minutes. Those who wait for it meanwhile must not hold
the threads on which everything else is answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import IO, TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

AT_ONCE = 32
"""In one process; who comes after waits, and holds no thread."""
CHUNK_BYTES = 1 << 20
T = TypeVar("T")
Given = TypeVarTuple("Given")
_threads: RunVar[CapacityLimiter] = RunVar("threads for the place of artifacts")


async def in_storage_thread(function: Callable[[Unpack[Given]], T], *given: *Given) -> T:
    """What a function answers that may have to wait for the place of artifacts."""
    return await run_sync(function, *given, limiter=_limiter())


async def chunks(file: IO[bytes], start: int, stop: int) -> AsyncIterator[bytes]:
    """Bytes start to stop of the file, a chunk at a time; closes it."""
    with file:
        await in_storage_thread(file.seek, start)
        left = stop - start
        while left and (chunk := await in_storage_thread(file.read, min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _limiter() -> CapacityLimiter:
    """That of this event loop."""
    try:
        return _threads.get()
    except LookupError:
        _threads.set(CapacityLimiter(AT_ONCE))
        return _threads.get()
