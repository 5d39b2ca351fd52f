"""Uploads a local text file to the service, validated first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.client.http import Service
from cli.terminal.exit_status import fail
from slimgpt.texts.files.detection import GZIP, HEAD, Form, detect_format
from slimgpt.texts.upload_checks import BadText, Format, check_of

MEDIA_TYPES: dict[Format, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
    "text": "text/plain",
}
SENT_AS: dict[Form, Format] = {"lines": "jsonl", "csv": "csv", "plain": "text"}
CHUNK_BYTES = 256 << 10
LONGEST_ROW = 1 << 20


def upload(
    service: Service,
    path: Path,
    *,
    name: str | None = None,
    text_field: str | None = None,
    form: Format | None = None,
) -> dict[str, Any]:
    """Validate a file like the service, upload it, and return the calibration set.

    Ends the command with a one-line error if the file is invalid.

    Args:
        name: shown in lists; None: the file's name.
        text_field: field that holds the text; None: detected.
        form: format of the file; None: detected.

    Raises:
        ServiceError: the service refused it, or cannot be reached.
    """
    try:
        form = form or _format_of(path, text_field)
        _check(path, form, text_field)
        return _send(service, path, form, {"name": name or path.name, "text_field": text_field})
    except BadText as error:
        fail(f"{path}: {error}")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror or error}")


def upload_questions(service: Service, path: Path) -> dict[str, Any]:
    """Validate and upload the questions of a task, and return the set.

    Their rows have no standard text field: the first field with text is used. The engine reads all
    fields.

    Raises:
        ServiceError: as `upload`.
    """
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline(LONGEST_ROW))
    except (OSError, ValueError):
        row = None  # `upload` says what is wrong with it
    fields = row.items() if isinstance(row, dict) else ()
    words = (name for name, value in fields if isinstance(value, str) and value.strip())
    return upload(service, path, text_field=next(words, None))


def _format_of(path: Path, text_field: str | None) -> Format:
    """The format of the file; unsupported ones are refused with a remedy.

    Raises:
        BadText: the format is unknown.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(GZIP):
        fail(f"{path} is compressed; decompress it first")
    form = detect_format(head, path.name.lower(), text_field)
    if form == "array":
        fail(f"{path} is a JSON array; write one row per line: jq -c '.[]' {path} > rows.jsonl")
    if form == "parquet":
        fail(f"{path} is a Parquet file; upload its rows as JSON lines or CSV")
    return SENT_AS[form]


def _check(path: Path, form: Format, text_field: str | None) -> None:
    """Validate the file before the upload, which can take hours.

    Raises:
        BadText: the file is invalid.
    """
    check = check_of(form, text_field)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            check.feed(chunk)
    check.finish()


def _send(service: Service, path: Path, form: Format, params: dict[str, Any]) -> dict[str, Any]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn(), TimeRemainingColumn())  # fmt: skip
    size = path.stat().st_size
    with (
        path.open("rb") as file,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("upload", total=size)

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                progress.advance(bar, len(chunk))

        headers = {"Content-Type": MEDIA_TYPES[form], "Content-Length": str(size)}
        made: dict[str, Any] = service.send("/calibration-sets", chunks(), headers, **params)
    return made
