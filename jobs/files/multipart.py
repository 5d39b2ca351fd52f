"""Multipart uploads to an object store, and aborting unfinished ones.

No listing shows them, and they are paid for. A worker that is killed in the middle of a large file
leaves some.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from jobs.files import transfer
from jobs.files.storage_urls import PART_BYTES
from jobs.files.transfer import Stop

log = structlog.get_logger(__name__)


def send(fs: Any, source: Path, target: str, stop: Stop) -> tuple[int, str]:
    """Upload a file, in parts if it is large. Returns bytes and SHA-256.

    Raises:
        Interrupted: `stop` said so; no parts are left.
    """
    with source.open("rb") as reading:
        sink = fs.open(target, "wb", block_size=PART_BYTES)
        try:
            known = transfer.copy(reading, sink.write, stop)
            sink.close()
        except BaseException:
            with suppress(Exception):
                sink.discard()
            with suppress(AttributeError):
                sink.closed = True  # closing, as its destructor does, would complete the file
            raise
    return known


def unfinished(fs: Any, path: str) -> list[tuple[str, str]]:
    """Key and id of the uploads below a path of an S3 file system, `bucket/folder`.

    A store that does not tell, or does not let us ask, has none that we could do anything about.
    """
    bucket, _, folder = path.partition("/")
    found: list[tuple[str, str]] = []
    after: dict[str, str] = {}
    while True:  # a thousand at a time
        try:
            page = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{folder}/", **after)
        except (OSError, NotImplementedError) as error:
            log.warning("unfinished uploads are not listed", error=str(error))
            return found
        found += [(upload["Key"], upload["UploadId"]) for upload in page.get("Uploads", [])]
        markers = (page.get("NextKeyMarker"), page.get("NextUploadIdMarker"))
        following = dict(zip(("KeyMarker", "UploadIdMarker"), markers, strict=True))
        if not page.get("IsTruncated") or not all(markers) or following == after:
            return found
        after = following


def abort(fs: Any, path: str) -> None:
    """End the uploads below a path, and free what they hold."""
    bucket = path.partition("/")[0]
    for key, upload in unfinished(fs, path):
        fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)


def names(fs: Any, path: str) -> set[str]:
    """Names right below a path under which uploads are unfinished."""
    skipped = len(path.partition("/")[2]) + 1
    return {key[skipped:].split("/")[0] for key, _ in unfinished(fs, path)}
