"""Files on their way out of the place of artifacts, on the threads that wait for that alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO

from api.http.threads import in_store

CHUNK_BYTES = 1 << 20


async def chunks(file: IO[bytes], start: int, stop: int) -> AsyncIterator[bytes]:
    """Bytes start to stop of the file, a chunk at a time; closes it."""
    with file:
        await in_store(file.seek, start)
        left = stop - start
        while left and (chunk := await in_store(file.read, min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
