"""Downloads a job's files into a folder that appears when all are complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from anyio import sleep

from slimgpt.client._async.transport import AsyncTransport
from slimgpt.client.errors import UnreachableError
from slimgpt.client.event_stream import PAUSE_SECONDS
from slimgpt.client.models.jobs import Artifact
from slimgpt.client.partial_file import (
    CHUNK_BYTES,
    PartialFile,
    finish,
    partial_folder,
    require_inside,
)
from slimgpt.client.progress_bar import Advance, transfer_bar


async def download(
    transport: AsyncTransport,
    job_id: str,
    files: Sequence[Artifact],
    directory: Path,
    *,
    bar: bool,
) -> Path:
    """As `AsyncJobs.download`."""
    directory = Path(os.path.abspath(directory))  # `.` has no name to add `.partial` to
    require_inside(files)
    folder = partial_folder(directory, job_id)
    total = sum(file.size for file in files)
    with transfer_bar("download", total, shown=bar) as advance:
        for file in files:
            partial = PartialFile(job_id, file, folder)
            advance(partial.have)
            await _fetch(transport, partial, advance)
    finish(folder, files, directory)
    return directory


async def _fetch(transport: AsyncTransport, partial: PartialFile, advance: Advance) -> None:
    """Download what is missing of one file; a connection that is lost is opened again."""
    tries = transport.retries
    while not partial.complete:
        before = partial.have
        try:
            async with transport.file(partial.request, partial.range) as response:
                advance(-partial.begin(response))
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    partial.append(chunk)
                    advance(len(chunk))
            break
        except UnreachableError:
            tries = transport.retries if partial.have > before else tries - 1
            if tries < 0:
                raise
            await sleep(PAUSE_SECONDS)
    partial.check()
