"""CSV and TSV: rows with a header, fields separated by commas, semicolons or tabs.

A quoted field may span several lines. Lines are parsed one by one, so that memory is bounded and
time is linear in the file's size.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator

from slimgpt.texts.files.encoding import BadText
from slimgpt.texts.rows import KNOWN

DELIMITERS = (",", ";", "\t")
LONGEST_RECORD = 8 << 20  # bytes
MOST_COLUMNS = 1000
ALIKE = 5
"""Records with as many fields as the header that identify a table with unknown column names."""
_NAME = re.compile(r"[A-Za-z_][\w .-]{0,63}")


class TableParser:
    """Assembles the records of a table from its lines; the first record is the header.

    Attributes:
        names: of the columns.
        line: number of lines taken.
        began: line number at which the last record starts.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.line = 0
        self._delimiter = ""
        self._parts: list[bytes] = []
        self._size = 0
        self.began = 1
        self._open = False

    def take(self, line: bytes) -> dict[str, str] | None:
        """Take the next line, without its line end; return the row that it completes, or None.

        Raises:
            BadText: the table is not well formed; the message has the record's first line.
        """
        self.line += 1
        if self.line == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not self._parts:
            self.began = self.line
            if not line.strip():
                return None
        self._size += len(line) + 1
        if self._size > LONGEST_RECORD:
            raise BadText(self.began, f"begins a record of more than {LONGEST_RECORD >> 20} MiB")
        self._delimiter = self._delimiter or delimiter_of(line.decode(errors="replace"))
        self._parts.append(line)
        self._open = quote_is_open(line, self._open, self._delimiter.encode())
        if self._open:
            return None
        record = b"\n".join(self._parts)
        self._parts, self._size = [], 0
        if self.names:
            return self.row(record)
        self.names = self._header(self._fields(record))
        return None

    @property
    def within(self) -> bool:
        """Whether the last line ends within a record."""
        return self._open

    def end(self) -> None:
        """End the file.

        Raises:
            BadText: a quoted field is not closed.
        """
        if self._open:
            raise BadText(self.began, "has an opening quote without a closing quote")

    def row(self, record: bytes) -> dict[str, str]:
        """The fields of one complete record, by column name.

        Raises:
            BadText: the record is not well formed, or has more or fewer fields than the header.
        """
        fields = self._fields(record)
        if len(fields) != len(self.names):
            there = f"{len(fields)} fields, and the header {len(self.names)}"
            raise BadText(self.began, f"has {there}")
        return dict(zip(self.names, fields, strict=True))

    def _fields(self, record: bytes) -> list[str]:
        csv.field_size_limit(LONGEST_RECORD)
        text = record.decode().replace("\r\n", "\n").rstrip("\r\n")
        try:
            [fields] = csv.reader([text], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError) as error:
            raise BadText(self.began, f"is not a valid CSV record ({error})") from error
        return fields

    def _header(self, fields: list[str]) -> tuple[str, ...]:
        names = tuple(name.strip() for name in fields)
        if len(names) > MOST_COLUMNS:
            raise BadText(self.began, f"has more than {MOST_COLUMNS:,} fields")
        named = [name for name in names if name]
        if len({*named}) < len(named):
            twice = next(name for name in named if named.count(name) > 1)
            raise BadText(self.began, f"has the column {twice!r} twice")
        return names


def quote_is_open(line: bytes, is_open: bool, delimiter: bytes) -> bool:
    """Whether a quoted field is open at the end of a line.

    Args:
        is_open: whether a quoted field is open at its start.
    """
    at, begins = 0, not is_open
    while True:
        if is_open:
            at = line.find(b'"', at)
            if at < 0:
                return True
            if line[at + 1 : at + 2] == b'"':  # an escaped quote
                at += 2
                continue
            is_open, begins, at = False, False, at + 1
        elif begins and line[at : at + 1] == b'"':
            is_open, at = True, at + 1
        else:
            at = line.find(delimiter, at) + 1
            if not at:
                return False
            begins = True


def delimiter_of(header: str) -> str:
    """The delimiter of a header; a comma if there is only one name."""
    return max(DELIMITERS, key=lambda delimiter: len(_split(header, delimiter)))


def looks_like(head: bytes, asked: str | None) -> bool:
    """Whether the content of a file is a table.

    Its first line must be column names, with at least one known or requested name; or one-word
    names, followed by `ALIKE` records with as many fields.
    """
    text = head.removeprefix(codecs.BOM_UTF8).decode(errors="replace").lstrip()
    header = text.partition("\n")[0].removesuffix("\r")
    delimiter = delimiter_of(header)
    names = _split(header, delimiter)
    if len(names) < 2 or not all(_NAME.fullmatch(name.strip()) for name in names if name):
        return False
    if (KNOWN | {asked}) & {name.strip() for name in names}:
        return True
    if any(name != name.strip() or " " in name for name in names):  # words of a sentence
        return False
    counts = [len(record) for record in _records(text, delimiter)][1 : ALIKE + 1]
    return len(counts) == ALIKE and {*counts} == {len(names)}


def _split(line: str, delimiter: str) -> list[str]:
    return next(_records(line, delimiter), [])


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    except csv.Error:
        return
