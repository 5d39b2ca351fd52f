"""Documents of a local text file: JSON lines, a JSON array, plain text, or .gz of these.

Every line is checked once when the file is opened, so that a bad one is an error before any
work; what stays in memory is where each document lies, not the documents.
"""

from __future__ import annotations

import codecs
import gzip
import json
import mmap
import re
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from slimgpt.errors import CalibrationError, StorageError
from slimgpt.texts.checks import SEPARATOR, BadText, Unicode
from slimgpt.texts.documents import Documents
from slimgpt.texts.rows import loaded, text_of

T = TypeVar("T")
Parse = Callable[[object, str | None], T]
"""A row and the field asked for → what the row says, false where it says nothing."""

UNPACKED_LIMIT = 4 << 30  # bytes; a small .gz can hold a disk full of zeros
ARRAY_LIMIT = 1 << 30  # bytes; a JSON array is parsed as a whole
_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n")
_SEPARATORS = re.compile(re.escape(SEPARATOR))
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_TEXT_NAMES = (".txt", ".text", ".md", ".raw", ".tokens")
_LINES_NAMES = (".jsonl", ".ndjson")


def read(path: Path, source: str, text_field: str | None) -> Documents[str]:
    """The documents of a file; empty ones are left out.

    Args:
        path: the file.
        source: what to call it in errors and in the report.
        text_field: field of the rows that holds the text; None finds it.

    Raises:
        CalibrationError: the file is empty, binary, not UTF-8, or a row of it is bad; the message
            names file and line.
        StorageError: there is no room to unpack it.
    """
    return parsed(path, source, text_field, _text)


def parsed(path: Path, source: str, text_field: str | None, parse: Parse[T]) -> Documents[T]:
    """The rows of a file through `parse`, which takes a paragraph of plain text as a row as well.

    Raises:
        CalibrationError, StorageError: as `read`.
    """
    content = _opened(path, source)
    kind = _kind(content, path)
    if kind == "array":
        documents = _array(content, source, text_field, parse)
    elif kind == "lines":
        documents = _lines(content, source, text_field, parse)
    else:
        documents = _plain(content, source, parse)
    if not len(documents):
        raise CalibrationError(f"{source}: the file holds no text", hint="give a file with text")
    return documents


def _text(row: object, text_field: str | None) -> str:
    text = text_of(row, text_field)
    return text if text.strip() else ""


def whole(path: Path, source: str, text_field: str | None) -> str:
    """The file as one text: plain text as it is, documents of other forms joined by blank lines.

    Raises:
        CalibrationError, StorageError: as `read`.
    """
    content = _opened(path, source)
    if _kind(content, path) == "plain" and content.find(SEPARATOR) < 0:
        return content[:].decode("utf-8-sig")
    return "\n\n".join(read(path, source, text_field))


def _opened(path: Path, source: str) -> mmap.mmap:
    """The file's plain bytes, checked to be UTF-8 text, at their start."""
    try:
        with path.open("rb") as file:
            if file.read(len(_GZIP)) == _GZIP:
                return _unpacked(path, source)
            return _mapped(file, source)
    except OSError as error:
        raise CalibrationError(
            f"{source}: the file cannot be read ({error.strerror or type(error).__name__})",
            hint="check its permissions",
        ) from error


def _unpacked(path: Path, source: str) -> mmap.mmap:
    total = 0
    with tempfile.TemporaryFile(prefix="slimgpt-text-") as file, gzip.open(path, "rb") as packed:
        for chunk in _chunks(packed, source):
            total += len(chunk)
            if total > UNPACKED_LIMIT:
                raise CalibrationError(
                    f"{source}: unpacks to more than {UNPACKED_LIMIT >> 30} GiB",
                    hint="calibration needs a few megabytes of text: give a part of it",
                )
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise StorageError(
                    f"{source}: no room to unpack it ({error.strerror})",
                    hint="free space in the folder for temporary files",
                ) from error
        return _mapped(file, source)


def _chunks(packed: gzip.GzipFile, source: str) -> Iterator[bytes]:
    try:
        while chunk := packed.read(_CHUNK):
            yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CalibrationError(
            f"{source}: the gzip file is damaged ({error})", hint="upload or download it again"
        ) from error


def _mapped(file: IO[bytes], source: str) -> mmap.mmap:
    file.seek(0)
    unicode, size = Unicode(), 0
    try:
        while chunk := file.read(_CHUNK):
            unicode.feed(chunk)
            size += len(chunk)
        unicode.feed(b"", last=True)
    except BadText as error:
        raise CalibrationError(
            f"{source}: {error}",
            hint="give JSON lines, a JSON array or plain text, converted to UTF-8",
        ) from error
    if not size:
        raise CalibrationError(f"{source}: the file is empty", hint="give a file with text")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _kind(content: mmap.mmap, path: Path) -> str:
    """`array`, `lines` or `plain`: by the name where it says, else by the first line."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_TEXT_NAMES):
        return "plain"
    _skip_mark(content)
    first = next((line for line in iter(content.readline, b"") if line.strip()), b"").strip()
    if name.endswith(_LINES_NAMES):
        return "lines"
    if name.endswith(".json"):
        return "array" if first.startswith(b"[") else "lines"
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        # An indented array starts with a line of its own; any other bracket is prose.
        return "array" if first == b"[" else "plain"
    if isinstance(row, dict):
        return "lines"
    return "array" if isinstance(row, list) else "plain"


def _skip_mark(content: mmap.mmap) -> None:
    content.seek(0)
    if content.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        content.seek(0)


def _lines(
    content: mmap.mmap, source: str, text_field: str | None, parse: Parse[T]
) -> Documents[T]:
    _skip_mark(content)
    starts, ends, at = array("Q"), array("Q"), content.tell()
    for number, line in enumerate(iter(content.readline, b""), start=1):
        if line.strip() and _parsed_line(line, source, number, text_field, parse):
            starts.append(at)
            ends.append(at + len(line))
        at += len(line)

    def read_row(index: int) -> T:
        return parse(json.loads(content[starts[index] : ends[index]]), text_field)

    return Documents(len(starts), read_row, f"{source}, {len(starts):,} documents of JSON lines")


def _parsed_line(
    line: bytes, source: str, number: int, text_field: str | None, parse: Parse[T]
) -> T:
    try:
        return parse(loaded(line.rstrip()), text_field)
    except json.JSONDecodeError as error:
        raise CalibrationError(
            f"{source}: line {number} is not JSON ({error.msg} at column {error.colno})",
            hint="JSON lines hold one complete JSON object a line",
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{source}: line {number}: {error}", hint=_FIELD_HINT) from error


_FIELD_HINT = "name the field that holds the text (text_field)"


def _array(
    content: mmap.mmap, source: str, text_field: str | None, parse: Parse[T]
) -> Documents[T]:
    if len(content) > ARRAY_LIMIT:
        raise CalibrationError(
            f"{source}: the JSON array is larger than {ARRAY_LIMIT >> 30} GiB",
            hint="convert it to JSON lines, or give a part of it",
        )
    try:
        _skip_mark(content)
        rows = loaded(content.read())
    except json.JSONDecodeError as error:
        raise CalibrationError(
            f"{source}: line {error.lineno} is not JSON ({error.msg} at column {error.colno})",
            hint="give a JSON array of objects, or JSON lines",
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{source}: {error}", hint="give JSON lines") from error
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(parse(row, text_field))
        except ValueError as error:
            raise CalibrationError(f"{source}: row {number}: {error}", hint=_FIELD_HINT) from error
    full = [one for one in found if one]
    return Documents.of(full, f"{source}, {len(full):,} documents of a JSON array")


def _plain(content: mmap.mmap, source: str, parse: Parse[T]) -> Documents[T]:
    """Documents between `<|endoftext|>`, or between blank lines where there is none."""
    _skip_mark(content)
    marked = content.find(SEPARATOR) >= 0
    starts, ends, at = array("Q"), array("Q"), content.tell()
    for cut in (_SEPARATORS if marked else _BLANK_LINES).finditer(content, at):
        starts.append(at)
        ends.append(cut.start())
        at = cut.end()
    starts.append(at)
    ends.append(len(content))
    full = [i for i in range(len(starts)) if content[starts[i] : ends[i]].strip()]
    between = "<|endoftext|>" if marked else "blank lines"

    def read_text(index: int) -> T:
        return parse(content[starts[full[index]] : ends[full[index]]].decode().strip(), None)

    return Documents(len(full), read_text, f"{source}, {len(full):,} documents between {between}")
