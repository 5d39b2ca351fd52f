"""Documents of a local text file: JSON lines or array, CSV, TSV, Parquet, plain text, or .gz.

The format is detected by content (`slimgpt.texts.files.detection`). Every line is checked once when
the file is opened, so that an invalid one is an error before any work. Only the positions of
documents stay in memory.
"""

from __future__ import annotations

import codecs
import json
import mmap
import re
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from slimgpt.errors import CalibrationError
from slimgpt.texts.documents import FIELD_HINT, Documents, Parse, parsed_row
from slimgpt.texts.files import parquet
from slimgpt.texts.files.delimited import TableParser
from slimgpt.texts.files.detection import HEAD, PARQUET, Form, detect_format
from slimgpt.texts.files.encoding import BadText
from slimgpt.texts.files.reading import head_of, no_text, opened
from slimgpt.texts.rows import loaded, text_of
from slimgpt.texts.upload_checks import SEPARATOR

T = TypeVar("T")

ARRAY_LIMIT = 1 << 30  # bytes; a JSON array is parsed as a whole
_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n")
_SEPARATORS = re.compile(re.escape(SEPARATOR))


def read(path: Path, source: str, text_field: str | None) -> Documents[str]:
    """The non-empty documents of a file.

    Args:
        path: the file.
        source: name of the file for errors and the report.
        text_field: field of the rows that contains the text; None detects it.

    Raises:
        CalibrationError: the file is empty, has an unsupported format, is not UTF-8, or a row is
            invalid; the message names file and line.
        StorageError: the disk has too little space to decompress it.
    """
    return parsed(path, source, text_field, _text)


def parsed(path: Path, source: str, text_field: str | None, parse: Parse[T]) -> Documents[T]:
    """The rows of a file, or documents of plain text, parsed by `parse`.

    Raises:
        CalibrationError, StorageError: as `read`.
    """
    if head_of(path, source).startswith(PARQUET):
        documents = parquet.rows(path, source, text_field, parse)
    else:
        content = opened(path, source)
        form = _form(content, path, source, text_field)
        if form == "plain":
            documents = _plain(content, source, parse)
        else:
            documents = _READERS[form](content, source, text_field, parse)
    if not len(documents):
        raise CalibrationError(
            f"{source}: the file contains no text", hint="provide a file with text"
        )
    return documents


def _text(row: object, text_field: str | None) -> str:
    text = text_of(row, text_field)
    return text if text.strip() else ""


def whole(path: Path, source: str) -> str:
    """The file as one text: plain text unchanged, documents of other formats joined by blank lines.

    Raises:
        CalibrationError, StorageError: as `read`.
    """
    if not head_of(path, source).startswith(PARQUET):
        content = opened(path, source)
        plain = _form(content, path, source, None) == "plain"
        if plain and content.find(SEPARATOR) < 0:
            return content[:].decode("utf-8-sig").replace("\r\n", "\n")
    return "\n\n".join(read(path, source, None))


def _form(content: mmap.mmap, path: Path, source: str, text_field: str | None) -> Form:
    name = path.name.lower().removesuffix(".gz")
    try:
        return detect_format(content[:HEAD], name, text_field)
    except BadText as error:
        raise no_text(source, error) from error


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
            hint="write one complete JSON object per line",
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{source}: line {number}: {error}", hint=FIELD_HINT) from error


def _array(
    content: mmap.mmap, source: str, text_field: str | None, parse: Parse[T]
) -> Documents[T]:
    if len(content) > ARRAY_LIMIT:
        raise CalibrationError(
            f"{source}: the JSON array is larger than {ARRAY_LIMIT >> 30} GiB",
            hint="convert it to JSON lines, or use a part of it",
        )
    try:
        _skip_mark(content)
        rows = loaded(content.read())
    except json.JSONDecodeError as error:
        raise CalibrationError(
            f"{source}: line {error.lineno} is not JSON ({error.msg} at column {error.colno})",
            hint="provide a JSON array of objects, or JSON lines",
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{source}: {error}", hint="provide JSON lines") from error
    found = (
        parsed_row(parse, row, text_field, f"{source}: row {number}")
        for number, row in enumerate(rows, start=1)
    )
    full = [one for one in found if one]
    return Documents.of(full, f"{source}, {len(full):,} documents of a JSON array")


def _table(
    content: mmap.mmap, source: str, text_field: str | None, parse: Parse[T]
) -> Documents[T]:
    """Rows of CSV or TSV; a record may span several lines."""
    content.seek(0)
    table, starts, ends, at, began = TableParser(), array("Q"), array("Q"), 0, 0
    try:
        for line in iter(content.readline, b""):
            row = table.take(line.removesuffix(b"\n"))
            at += len(line)
            if row is not None and parsed_row(
                parse, row, text_field, f"{source}: line {table.began}"
            ):
                starts.append(began)
                ends.append(at)
            began = began if table.within else at
        table.end()
    except BadText as error:
        raise CalibrationError(
            f"{source}: {error}", hint="quote all fields of the table, or convert it to JSON lines"
        ) from error

    def read_row(index: int) -> T:
        return parse(table.row(content[starts[index] : ends[index]]), text_field)

    return Documents(len(starts), read_row, f"{source}, {len(starts):,} documents of a table")


def _plain(content: mmap.mmap, source: str, parse: Parse[T]) -> Documents[T]:
    """Documents separated by `<|endoftext|>`, or by blank lines if there is none."""
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
        text = content[starts[full[index]] : ends[full[index]]].decode()
        return parse(text.replace("\r\n", "\n").strip(), None)

    return Documents(len(full), read_text, f"{source}, {len(full):,} documents between {between}")


_READERS: dict[Form, Callable[..., Documents[Any]]] = {
    "array": _array,
    "lines": _lines,
    "csv": _table,
}
