"""Texts of this machine, checked like the service does before they are uploaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slimgpt.client.errors import ClientError
from slimgpt.client.requests import STORE_SECONDS, Request
from slimgpt.texts.files.detection import GZIP, HEAD, Form, detect_format
from slimgpt.texts.upload_checks import BadText, Format, check_of

MEDIA_TYPES: Mapping[Format, str] = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
    "text": "text/plain",
}
SENT_AS: Mapping[Form, Format] = {"lines": "jsonl", "csv": "csv", "plain": "text"}
CHUNK_BYTES = 256 << 10
LONGEST_ROW = 1 << 20


def checked_format(path: Path, form: Format | None, text_field: str | None) -> Format:
    """The format of a file whose every line is valid; this is known before hours of uploading.

    Args:
        form: None: detected from the content.
        text_field: the field that holds the text; None: detected.

    Raises:
        ClientError: the file cannot be read, or the service would refuse it; says what to do.
    """
    try:
        form = form or _format_of(path, text_field)
        check = check_of(form, text_field)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                check.feed(chunk)
        check.finish()
    except BadText as error:
        raise ClientError(f"{path}: {error}") from error
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror or error}") from error
    return form


def upload_request(
    path: Path, form: Format, content: Callable[[], Any], params: Mapping[str, Any]
) -> Request:
    """The request that uploads a file; `content` gives its bytes, each time anew."""
    headers = {"Content-Type": MEDIA_TYPES[form], "Content-Length": str(path.stat().st_size)}
    return Request(
        method="POST",
        path="/calibration-sets",
        params=params,
        content=content,
        headers=headers,
        timeout=STORE_SECONDS,
    )


def first_text_field(path: Path) -> str | None:
    """The first field with text of a file of questions, which has no standard one."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline(LONGEST_ROW))
    except (OSError, ValueError):
        return None  # the upload says what is wrong with it
    fields = row.items() if isinstance(row, dict) else ()
    words = (name for name, value in fields if isinstance(value, str) and value.strip())
    return next(words, None)


def _format_of(path: Path, text_field: str | None) -> Format:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(GZIP):
        raise ClientError(f"{path} is compressed; decompress it first")
    form = detect_format(head, path.name.lower(), text_field)
    if form == "array":
        rows = f"jq -c '.[]' {path} > rows.jsonl"
        raise ClientError(f"{path} is a JSON array; write one row per line: {rows}")
    if form == "parquet":
        raise ClientError(f"{path} is a Parquet file; upload its rows as JSON lines or CSV")
    return SENT_AS[form]
