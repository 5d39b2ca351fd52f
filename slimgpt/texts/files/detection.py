"""Detects the format of a text file by its first bytes, or by its name if they are ambiguous."""

from __future__ import annotations

import codecs
import json
import re
from typing import Literal

from slimgpt.texts.files import delimited
from slimgpt.texts.files.encoding import BadText, refuse_binary

Form = Literal["array", "lines", "csv", "parquet", "plain"]
HEAD = 16 << 10
"""Number of bytes by which a format is detected."""
TEXT_NAMES = (".txt", ".text", ".md", ".raw", ".tokens")
LINES_NAMES = (".jsonl", ".ndjson")
TABLE_NAMES = (".csv", ".tsv", ".tab")
PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
PAGES = {b"<!doctype html": "an HTML page", b"<html": "an HTML page", b"<?xml": "an XML document"}
_OBJECT = re.compile(rb'\{\s*(\Z|"(\\.|[^"\\])*("\s*:|\Z))')


def detect_format(head: bytes, name: str, asked: str | None = None) -> Form:
    """The format of a file.

    Args:
        head: its first `HEAD` bytes, or all if it is shorter.
        name: file name in lower case, without `.gz`.
        asked: the field that contains the text, if one is named.

    Raises:
        BadText: the format is not supported.
    """
    if head.startswith(PARQUET):
        return "parquet"
    refuse_binary(head)
    _refuse_pages(head, name)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first, newline, rest = text.partition(b"\n")
    ended = bool(newline) or len(head) < HEAD
    if name.endswith(LINES_NAMES) and not _is_array(first, ended, rest):
        return "lines"
    if name.endswith(".json"):
        return "array" if text.startswith(b"[") else "lines"
    if _OBJECT.match(first) and (not ended or first.strip() == b"{" or _is_json(first, dict)):
        return "lines"
    if _is_array(first, ended, rest):
        return "array"
    table = name.endswith(TABLE_NAMES) or delimited.looks_like(head, asked)
    return "csv" if table else "plain"


def _refuse_pages(head: bytes, name: str) -> None:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()[:16].lower()
    for mark, kind in PAGES.items():
        if start.startswith(mark) and not name.endswith(TEXT_NAMES):
            raise BadText(None, f"is {kind}, not text: convert it to plain text")


def _is_array(first: bytes, ended: bool, rest: bytes) -> bool:
    """Whether the first line starts a JSON array of rows; another bracket is plain text."""
    if not first.startswith(b"["):
        return False
    if first.strip() == b"[":  # indented: an element is on the next line
        return rest.lstrip()[:1] in (b"{", b'"', b"]", b"")
    if ended:
        return _is_json(first, list) or _is_cut(first)
    return first[1:].lstrip()[:1] in (b"{", b'"')


def _is_json(line: bytes, kind: type) -> bool:
    try:
        return isinstance(json.loads(line), kind)
    except (ValueError, RecursionError):
        return False


def _is_cut(line: bytes) -> bool:
    """Whether a truncated line starts an array whose first element is an object."""
    return line[1:].lstrip().startswith(b"{") and _OBJECT.match(line[1:].lstrip()) is not None
