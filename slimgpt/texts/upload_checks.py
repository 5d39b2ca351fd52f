"""Streaming validation of an uploaded text file, in bounded memory.

The engine (`slimgpt.texts.local`) reads a valid file without error and counts the same documents.
The service checks uploads before it stores them, so this module imports neither torch nor
transformers, and its work is bounded: by the length of a line, the number of values in it, the
number of lines, the depth of JSON. No other thread runs while a line is parsed, so a long line may
contain one long text but not a million small values.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Literal, Protocol

from slimgpt.texts.files.delimited import TableParser
from slimgpt.texts.files.detection import HEAD, detect_format
from slimgpt.texts.files.encoding import BadText, Utf8Validator
from slimgpt.texts.json_limits import JsonLimits, TooMuchJson, require_within
from slimgpt.texts.rows import loaded, text_of

__all__ = ["MAX_LINES", "MAX_LINE_BYTES", "SEPARATOR", "BadText", "Format", "check_of"]

Format = Literal["jsonl", "csv", "text"]
SEPARATOR = b"<|endoftext|>"
MAX_LINE_BYTES = 8 << 20
MAX_LINES = 10_000_000
"""Most lines of JSON lines and tables, and most documents of plain text."""
LINE = JsonLimits(
    values=50_000, keys=20_000, depth=64, string_bytes=MAX_LINE_BYTES, number_bytes=128
)
SHORT_LINE_BYTES = 64 << 10
"""Lines up to this size parse in a few milliseconds and need no check against `LINE`."""
DECLARE = {
    "lines": "JSON lines: declare it as application/x-ndjson",
    "array": "a JSON array: write a row a line, and declare it as application/x-ndjson",
    "csv": "a table: declare it as text/csv",
    "parquet": "a Parquet file: write its rows as JSON lines",
}
_BLANKS = re.compile(rb"\n[ \t\r]*\n\s*")
_LINE_BEGINS = re.compile(rb"\n[ \t\r]*\Z")


class TextCheck(Protocol):
    """Validates a file from its bytes in order."""

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes.

        Raises:
            BadText: they are not valid.
        """

    def finish(self) -> int:
        """End the file, and return the number of its non-empty documents.

        Raises:
            BadText: the file ends too early, or contains no text.
        """


def check_of(form: Format, text_field: str | None = None) -> TextCheck:
    """The check for a format.

    Args:
        form: JSON lines, a table (CSV or TSV), or plain text.
        text_field: field of the rows that contains the text; None detects it in each row.
    """
    if form == "text":
        return PlainTextCheck(text_field)
    return JsonLinesCheck(text_field) if form == "jsonl" else TableCheck(text_field)


class _LineCheck:
    """Base of checks that work line by line."""

    def __init__(self, text_field: str | None = None) -> None:
        self._field = text_field
        self._unicode = Utf8Validator()
        self._parts: list[bytes] = []
        self._held = 0
        self._number = 0
        self._documents = 0

    def feed(self, chunk: bytes) -> None:
        """See `TextCheck`."""
        self._unicode.feed(chunk)
        head, newline, rest = chunk.rpartition(b"\n")
        if newline:
            for line in b"".join([*self._parts, head]).split(b"\n"):
                self._next(line)
            self._parts, self._held = [], 0
        self._parts.append(rest)
        self._held += len(rest)
        if self._held > MAX_LINE_BYTES:
            raise BadText(self._number + 1, _TOO_LONG)

    def finish(self) -> int:
        """See `TextCheck`."""
        self._unicode.feed(b"", last=True)
        self._next(b"".join(self._parts))
        self._end()
        if not self._documents:
            raise BadText(None, "contains no text")
        return self._documents

    def _next(self, line: bytes) -> None:
        self._number += 1
        if self._number > MAX_LINES:
            raise BadText(None, f"has more than {MAX_LINES:,} lines")
        if len(line) > MAX_LINE_BYTES:
            raise BadText(self._number, _TOO_LONG)
        self._look(line)

    def _look(self, line: bytes) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        """Called after the last line."""

    def _count(self, row: object, number: int) -> None:
        try:
            text = text_of(row, self._field)
        except ValueError as error:
            raise BadText(number, f"cannot be used: {error}") from error
        self._documents += bool(text.strip())


class JsonLinesCheck(_LineCheck):
    """JSON lines: each line is a complete JSON value with a text."""

    def _look(self, line: bytes) -> None:
        if self._number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            return
        try:
            if len(line) > SHORT_LINE_BYTES:
                require_within(line, LINE)
            row = loaded(line.rstrip())
        except TooMuchJson as error:
            raise BadText(self._number, str(error)) from error
        except json.JSONDecodeError as error:
            reason = f"is not JSON ({error.msg} at column {error.colno})"
            raise BadText(self._number, reason) from error
        except ValueError as error:
            raise BadText(self._number, f"cannot be used: {error}") from error
        self._count(row, self._number)


class TableCheck(_LineCheck):
    """A table (CSV or TSV): rows with a header and a column of text."""

    def __init__(self, text_field: str | None = None) -> None:
        super().__init__(text_field)
        self._table = TableParser()

    def _look(self, line: bytes) -> None:
        row = self._table.take(line)
        if row is not None:
            self._count(row, self._table.began)

    def _end(self) -> None:
        self._table.end()


_TOO_LONG = f"is longer than {MAX_LINE_BYTES >> 20} MiB"


class PlainTextCheck:
    """Plain text: documents separated by `<|endoftext|>`, or by blank lines if there is none."""

    def __init__(self, text_field: str | None = None) -> None:
        self._field = text_field
        self._unicode = Utf8Validator()
        self._head: bytes | None = b""
        self._marked = SeparatedCounter()
        self._parted = ParagraphCounter()

    def feed(self, chunk: bytes) -> None:
        """See `TextCheck`."""
        self._unicode.feed(chunk)
        if self._head is None:
            self._count(chunk)
            return
        self._head += chunk
        if len(self._head) >= HEAD:
            self._begin()

    def _begin(self) -> None:
        """Check with the first bytes that the file has no other format."""
        head, self._head = self._head or b"", None
        form = detect_format(head[:HEAD], ".txt", self._field)
        if form != "plain":
            raise BadText(None, f"is {DECLARE[form]}")
        self._count(head.removeprefix(codecs.BOM_UTF8))

    def _count(self, chunk: bytes) -> None:
        self._marked.feed(chunk)
        self._parted.feed(chunk)
        if max(self._marked.count, self._parted.count) > MAX_LINES:
            raise BadText(None, f"has more than {MAX_LINES:,} documents")

    def finish(self) -> int:
        """See `TextCheck`."""
        self._unicode.feed(b"", last=True)
        if self._head is not None:
            self._begin()
        marked = self._marked.finish()
        count = marked if self._marked.seen else self._parted.count
        if not count:
            raise BadText(None, "contains no text")
        return count


class SeparatedCounter:
    """Counts non-blank documents separated by `SEPARATOR`."""

    def __init__(self) -> None:
        self.count = 0
        self.seen = False
        self._open = False
        self._carry = b""

    def feed(self, chunk: bytes) -> None:
        """Count documents in the next bytes."""
        *ended, last = (self._carry + chunk).split(SEPARATOR)
        for piece in ended:
            self.count += self._open or bool(piece.strip())
            self._open, self.seen = False, True
        # The end may be the start of a separator.
        cut = max(0, len(last) - len(SEPARATOR) + 1)
        self._carry = last[cut:]
        self._open |= bool(last[:cut].strip())

    def finish(self) -> int:
        """The count, including the last document."""
        return self.count + (self._open or bool(self._carry.strip()))


class ParagraphCounter:
    """Counts documents separated by blank lines."""

    def __init__(self) -> None:
        self.count = 0
        self._open = False
        self._carry = b""

    def feed(self, chunk: bytes) -> None:
        """Count documents in the next bytes."""
        data = self._carry + chunk
        text = data.strip()
        if not text:
            self._close(data)
            return
        begin = data.index(text[:1])
        if _BLANKS.search(data, 0, begin):
            self._open = False
        self.count += (not self._open) + len(_BLANKS.findall(text))
        self._open = True
        self._close(data[begin + len(text) :])

    def _close(self, space: bytes) -> None:
        """Update the state with trailing white space."""
        if _BLANKS.search(space):
            self._open = False
        self._carry = b"\n" if _LINE_BEGINS.search(space) else b""
