"""`slimgpt download`: fetches a job's files, verifies their SHA-256, renames the folder once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.client.http import Connection, Service, ServiceError
from cli.options.shared import JobId, Json
from cli.terminal.exit_status import fail

CHUNK_BYTES = 1 << 20
Advance = Callable[[int], None]


def download(
    job_id: JobId,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the files.")],
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Download all files of a job and check their sha256.

    The files are collected in DIR.partial, which becomes DIR when all are complete; the same
    command continues where an earlier one was interrupted.
    """
    directory = Path(os.path.abspath(directory))  # `.` has no name to add `.partial` to
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        fail(f"{directory} exists and is not an empty folder; give another DIR")
    with connection.open() as service:
        items = service.get(f"/jobs/{job_id}/artifacts")["items"]
        try:
            fetch(service, job_id, items, directory)
        except OSError as error:
            fail(f"{error.filename or directory} cannot be written: {error.strerror or error}")
    size = sum(item["size"] for item in items)
    if as_json:
        typer.echo(json.dumps({"directory": str(directory), "items": items, "size": size}))
    else:
        typer.echo(f"{len(items)} files, {size:,} bytes, all checked, in {directory}")


def fetch(service: Service, job_id: str, items: list[dict[str, Any]], directory: Path) -> None:
    """Download files of a job into a new folder, renamed when all are complete and verified.

    Args:
        items: the service's list of the job's files.

    Raises:
        ServiceError: a file cannot be downloaded, or does not match the list.
        OSError: a file cannot be written.
    """
    partial = directory.with_name(directory.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("download", total=sum(item["size"] for item in items))
        for item in items:
            target = partial / _safe(item["path"])
            target.parent.mkdir(parents=True, exist_ok=True)
            address = f"/jobs/{job_id}/artifacts/{quote(item['path'])}"
            _fetch(service, address, item, target, lambda n: progress.advance(bar, n))
    partial.rename(directory)


def _safe(path: str) -> PurePosixPath:
    """The path, if it stays below the folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or any(part == ".." for part in parts) or "\\" in path:
        raise ServiceError(f"the service names a file outside the folder: {path!r}")
    return PurePosixPath(*parts)


def _fetch(
    service: Service, address: str, item: dict[str, Any], target: Path, advance: Advance
) -> None:
    """Download one file, resuming an earlier try, and verify its SHA-256.

    Raises:
        ServiceError: the file does not match the service's list; it is removed.
    """
    digest = hashlib.sha256()
    have = _digest_existing(target, item["size"], digest)
    advance(have)
    if have < item["size"] or not target.exists():
        with (
            service.file(address, have, item["sha256"]) as response,
            target.open("ab") as file,
        ):
            if response.status_code != 206 and have:
                file.truncate(0)
                digest = hashlib.sha256()
                advance(-have)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
    if digest.hexdigest() != item["sha256"]:
        target.unlink()
        message = f"{item['path']} does not have the sha256 that the service lists"
        raise ServiceError(f"{message}; run the same command again")


def _digest_existing(target: Path, size: int, digest: Any) -> int:
    """Add the bytes of an earlier try to the digest; returns their number."""
    if not target.is_file():
        return 0
    if target.stat().st_size > size:
        target.unlink()
        return 0
    with target.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return target.stat().st_size
