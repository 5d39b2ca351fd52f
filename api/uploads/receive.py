"""Receives an upload with limits on size, time, concurrency and disk, validated as it streams.

The body is never in memory as a whole. The bound on its size is `api.middleware.body_size`'s.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated

import anyio
import structlog
from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from api.checks.disk import require_free_disk
from api.http.problems import Problem
from api.http.threads import ThreadPool, in_storage_thread
from api.services import Services
from api.uploads.spool import Spool, sweep
from jobs.files.calibration_sets import (
    CalibrationSet,
    Content,
    Format,
    Quota,
    UploadQuotaReached,
    discard,
    prefix_of,
)
from slimgpt.texts.upload_checks import BadText

MEDIA_TYPES: dict[str, Format] = {
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "text/plain": "text",
}
IDLE_SECONDS = 30.0
"""Longest pause between two parts of a body."""
WHOLE_SECONDS = 3600.0
"""Longest time for a whole body."""
AT_ONCE = 4
"""Concurrent uploads of an owner in one process."""
CHECKS_AT_ONCE = 2
"""Concurrent checks in one process, at most one per owner: parsing a line takes memory."""
PIECE_BYTES = 256 << 10
LOOK_BYTES = 16 << 20
"""Bytes received between two checks of the free disk space."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
RETRY = {"Retry-After": "30"}
CLOSE = {"Connection": "close"}
log = structlog.get_logger(__name__)
_in_check_thread = ThreadPool("calibration checks", CHECKS_AT_ONCE)


@dataclass
class _Uploader:
    """An owner with uploads in progress.

    Attributes:
        uploads: how many.
        turn: held while a part is checked, so that each owner has one check at a time.
    """

    uploads: int = 0
    turn: anyio.Lock = field(default_factory=anyio.Lock)


_under_way: defaultdict[str, _Uploader] = defaultdict(_Uploader)


def declared_format(request: Request) -> Format:
    """The format that the headers declare.

    Raises:
        Problem: 415, it is not one of `MEDIA_TYPES` in UTF-8, or the body is compressed.
    """
    content_type, *parameters = request.headers.get("content-type", "").lower().split(";")
    kind = content_type.strip()
    known = ", ".join(MEDIA_TYPES)
    if kind not in MEDIA_TYPES:
        said = f"is {kind[:64]!r}" if kind else "is missing"
        raise Problem("not-text", f"the header Content-Type {said}; send one of {known}")
    charsets = [p.split("=")[-1].strip(' "') for p in parameters if p.strip().startswith("charset")]
    if any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        raise Problem("not-text", f"the charset is {charsets[0][:64]!r}; send UTF-8")
    packed = request.headers.get("content-encoding", "identity").strip().lower()
    if packed != "identity":
        detail = f"the body is compressed (Content-Encoding {packed[:64]!r}); send it uncompressed"
        raise Problem("not-text", detail)
    return MEDIA_TYPES[kind]


Declared = Annotated[Format, Depends(declared_format)]


async def receive(
    request: Request, services: Services, owner: str, name: str, text: tuple[Format, str | None]
) -> tuple[CalibrationSet, bool]:
    """Receive, validate and store a text.

    Args:
        name: the client's name for it.
        text: the declared format, and the field that holds the text.

    Returns:
        The set, and whether it is new: False if the owner already has that text.

    Raises:
        Problem: the upload is invalid, too large, too slow or cannot be stored; nothing is kept.
    """
    root = services.settings.uploads_root
    with _one_of_few(owner) as turn, _as_problems():
        await run_sync(sweep, root)
        with await run_sync(Spool, root, *text) as spool:
            content = await _take(request, services, spool, turn)
            return await in_storage_thread(_keep, services, spool, owner, name, content)


@contextmanager
def _one_of_few(owner: str) -> Iterator[anyio.Lock]:
    """Count an upload of the owner; yields the lock to hold while a part is checked."""
    uploader = _under_way[owner]
    if uploader.uploads >= AT_ONCE:
        detail = f"{owner} already has {AT_ONCE} uploads in progress"
        raise Problem("too-many-uploads", detail, headers={**RETRY, **CLOSE})
    uploader.uploads += 1
    try:
        yield uploader.turn
    finally:
        uploader.uploads -= 1
        if not uploader.uploads:
            del _under_way[owner]


@contextmanager
def _as_problems() -> Iterator[None]:
    """Convert errors to problems."""
    try:
        yield
    except BadText as error:
        line = {} if error.line is None else {"line": error.line}
        raise Problem(
            "invalid-calibration-set", str(error), headers=CLOSE, extensions=line
        ) from error
    except ClientDisconnect as error:  # nobody is there to read it
        raise Problem("malformed-request", "the upload ended before its last byte") from error
    except OSError as error:
        log.error("an upload cannot be taken in", reason=str(error))
        if error.errno in NO_ROOM:
            detail = "the disk has no space for the upload"
            raise Problem("storage-low", detail, headers={**RETRY, **CLOSE}) from error
        detail = "the upload cannot be stored now; try again later"
        raise Problem("unavailable", detail, headers={**RETRY, **CLOSE}) from error


async def _take(request: Request, services: Services, spool: Spool, turn: anyio.Lock) -> Content:
    held = bytearray()
    looked_at = 0
    async for chunk in _steadily(request):
        held += chunk
        if len(held) < PIECE_BYTES:
            continue
        async with turn:
            await _in_check_thread(spool.feed, bytes(held))
        held.clear()
        if spool.size - looked_at >= LOOK_BYTES:
            looked_at = spool.size
            await run_sync(require_free_disk, services)
    async with turn:
        await _in_check_thread(spool.feed, bytes(held))
        return await _in_check_thread(spool.finish)


async def _steadily(request: Request) -> AsyncIterator[bytes]:
    """The body's chunks; 408 if it stalls or takes too long."""
    stream = aiter(request.stream())
    end = monotonic() + WHOLE_SECONDS
    while True:
        try:
            with anyio.fail_after(min(IDLE_SECONDS, end - monotonic())):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            detail = (
                f"no data was received for {IDLE_SECONDS:g} seconds"
                if monotonic() < end
                else f"the upload took more than {WHOLE_SECONDS:g} seconds"
            )
            raise Problem("upload-stalled", detail, headers=CLOSE) from error
        yield chunk


def _keep(
    services: Services, spool: Spool, owner: str, name: str, content: Content
) -> tuple[CalibrationSet, bool]:
    """Store the file, then publish the set (the order: `jobs.files.calibration_sets`)."""
    sets, settings = services.calibration_sets, services.settings
    require_free_disk(services)
    most = Quota(settings.max_uploads_per_owner, settings.max_uploaded_bytes_per_owner)
    try:
        twin = sets.reserve(spool.id, owner, name, content, most)
    except UploadQuotaReached as error:
        raise Problem("uploads-full", str(error)) from error
    if twin is not None:
        return twin, False
    kept: CalibrationSet | None = None
    try:
        services.artifacts.put(prefix_of(spool.id), spool.folder)
        kept = sets.publish(spool.id)
    finally:
        if kept is None or kept.id != spool.id:
            _discard(services, spool.id)
    if kept is None:
        detail = "storing the upload took too long; try again later"
        raise Problem("unavailable", detail, headers=RETRY)
    return kept, kept.id == spool.id


def _discard(services: Services, set_id: str) -> None:
    """Remove the stored file; the sweep removes it later if this fails."""
    try:
        discard(set_id, services.calibration_sets, services.artifacts)
    except Exception as error:  # must not hide the original error
        log.warning("a text is removed later", set=set_id, reason=str(error))
