"""Streamed files of the artifact store, read on the threads reserved for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO

from api.http.threads import in_storage_thread

CHUNK_BYTES = 1 << 20


async def chunks(file: IO[bytes], start: int, stop: int) -> AsyncIterator[bytes]:
    """Bytes `start` to `stop` (exclusive) of the file in chunks; closes the file."""
    with file:
        await in_storage_thread(file.seek, start)
        left = stop - start
        while left and (chunk := await in_storage_thread(file.read, min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
