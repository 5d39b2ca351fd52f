"""Uploads a local text file to the service, validated first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

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
from slimgpt.texts.checks import BadText, check_of

Form = Literal["jsonl", "text"]
MEDIA_TYPES: dict[Form, str] = {"jsonl": "application/x-ndjson", "text": "text/plain"}
ENDINGS: dict[str, Form] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".txt", ".text", ".md", ".raw", ".tokens"), "text"),
}
CHUNK_BYTES = 256 << 10
LONGEST_ROW = 1 << 20
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")


def upload(
    service: Service,
    path: Path,
    *,
    name: str | None = None,
    text_field: str | None = None,
    form: Form | None = None,
) -> dict[str, Any]:
    """Check a file as the service will, send it, and return the calibration set.

    Ends the command with one line if the file cannot be read or used.

    Args:
        name: by which it is known in lists; the file's own if not given.
        text_field: field of its rows that holds the text; None finds it.
        form: what it is; told from its name or its first line if not given.

    Raises:
        ServiceError: the service refused it, or cannot be reached.
    """
    try:
        form = form or _form_of(path)
        _check(path, form, text_field)
        return _send(service, path, form, {"name": name or path.name, "text_field": text_field})
    except BadText as error:
        fail(f"{path}: {error}")
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror or error}")


def upload_questions(service: Service, path: Path) -> dict[str, Any]:
    """Check and send the questions of a task, and return the set.

    Rows of tasks have no field that is known to hold text: the first that holds words stands for
    it. The engine reads all of them.

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


def _form_of(path: Path) -> Form:
    """JSON lines or plain text; refuses what is neither, with a way out."""
    with path.open("rb") as file:
        begin = file.read(CHUNK_BYTES)
    if begin.startswith(PACKED):
        fail(f"{path} is compressed; decompress it first")
    first = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix.lower() == ".json" and first.startswith(b"["):
        fail(f"{path} is a JSON array; write one row per line: jq -c '.[]' {path} > rows.jsonl")
    known = ENDINGS.get(path.suffix.lower())
    return known or ("jsonl" if first.startswith((b"{", b'"')) else "text")


def _check(path: Path, form: Form, text_field: str | None) -> None:
    """Refuse here what the service would, before hours of sending.

    Raises:
        BadText: the file cannot be used.
    """
    check = check_of(form, text_field)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            check.feed(chunk)
    check.finish()


def _send(service: Service, path: Path, form: Form, params: dict[str, Any]) -> dict[str, Any]:
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
