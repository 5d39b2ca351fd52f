"""Streaming validation of an uploaded text file, in bounded memory.

What passes here the engine reads without an error, and counts the same documents
(`slimgpt.texts.local`). The service checks uploads with it before anything is stored; so it
imports neither torch nor transformers, and its work is bounded whatever comes: the length of a
line and what it holds, the number of lines, the depth of a JSON value. A line is parsed in one go,
in which no other thread runs: a long one may be one long text, not a million small things.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Literal, Protocol

from slimgpt.texts.json_limits import JsonLimits, TooMuchJson, require_within
from slimgpt.texts.rows import loaded, text_of

Format = Literal["jsonl", "text"]
SEPARATOR = b"<|endoftext|>"
MAX_LINE_BYTES = 8 << 20
MAX_LINES = 10_000_000
"""Of JSON; of plain text so many documents."""
LINE = JsonLimits(
    values=50_000, keys=20_000, depth=64, string_bytes=MAX_LINE_BYTES, number_bytes=128
)
SHORT_LINE_BYTES = 64 << 10
"""Parsed in a few milliseconds, whatever it holds; so it is not counted first."""
_SAID = 200
_BLANKS = re.compile(rb"\n[ \t\r]*\n\s*")
_LINE_BEGINS = re.compile(rb"\n[ \t\r]*\Z")


class BadText(ValueError):  # noqa: N818 - says what is the case
    """The text cannot be used.

    Its message says which line and why, in printable characters, of bounded length.

    Attributes:
        line: number of the line, from 1; None if it is the text as a whole.
    """

    def __init__(self, line: int | None, predicate: str) -> None:
        self.line = line
        subject = "the file" if line is None else f"line {line}"
        super().__init__(f"{subject} {_plainly(predicate)}")


class TextCheck(Protocol):
    """Takes a file's bytes in order."""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes.

        Raises:
            BadText: they cannot be part of a text.
        """

    def finish(self) -> int:
        """The file has ended: its documents, not counting empty ones.

        Raises:
            BadText: it ended too early, or holds no text.
        """


def check_of(form: Format, text_field: str | None = None) -> TextCheck:
    """The check of a file of that format.

    Args:
        form: JSON lines, or plain text.
        text_field: field of the rows that holds the text; None finds it in each.
    """
    return Lines(text_field) if form == "jsonl" else Prose()


def _plainly(words: str) -> str:
    """Words that quote a stranger's text, fit for any log, terminal and encoding."""
    shown = words if len(words) <= _SAID else f"{words[:_SAID]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


class Unicode:
    """Holds a stream of bytes to UTF-8 without NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Look at the next bytes.

        Raises:
            BadText: there is a NUL, or what is not UTF-8.
        """
        if b"\0" in chunk:
            line = self._line + chunk[: chunk.index(b"\0")].count(b"\n")
            raise BadText(line, "holds a NUL: the file is binary, not text")
        try:
            self._decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            line = self._line + error.object[: error.start].count(b"\n")
            raise BadText(line, f"is not UTF-8 ({error.reason})") from error
        self._line += chunk.count(b"\n")


class Lines:
    """JSON lines: each a complete value, from which a text can be had."""

    def __init__(self, text_field: str | None = None) -> None:
        self._field = text_field
        self._unicode = Unicode()
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
                self._take(line)
            self._parts, self._held = [], 0
        self._parts.append(rest)
        self._held += len(rest)
        if self._held > MAX_LINE_BYTES:
            raise BadText(self._number + 1, _TOO_LONG)

    def finish(self) -> int:
        """See `TextCheck`."""
        self._unicode.feed(b"", last=True)
        self._take(b"".join(self._parts))
        if not self._documents:
            raise BadText(None, "holds no text")
        return self._documents

    def _take(self, line: bytes) -> None:
        if not self._number:
            line = line.removeprefix(codecs.BOM_UTF8)
        self._number += 1
        if self._number > MAX_LINES:
            raise BadText(None, f"has more than {MAX_LINES:,} lines")
        if len(line) > MAX_LINE_BYTES:
            raise BadText(self._number, _TOO_LONG)
        if not line.strip():
            return
        try:
            if len(line) > SHORT_LINE_BYTES:
                require_within(line, LINE)
            text = text_of(loaded(line.rstrip()), self._field)
        except TooMuchJson as error:
            raise BadText(self._number, str(error)) from error
        except json.JSONDecodeError as error:
            reason = f"is not JSON ({error.msg} at column {error.colno})"
            raise BadText(self._number, reason) from error
        except ValueError as error:
            raise BadText(self._number, f"cannot be used: {error}") from error
        self._documents += bool(text.strip())


_TOO_LONG = f"is longer than {MAX_LINE_BYTES >> 20} MiB"


class Prose:
    """Plain text: documents between `<|endoftext|>`, or between blank lines if there is none."""

    def __init__(self) -> None:
        self._unicode = Unicode()
        self._head: bytes | None = b""
        self._marked = Pieces()
        self._parted = Paragraphs()

    def feed(self, chunk: bytes) -> None:
        """See `TextCheck`."""
        self._unicode.feed(chunk)
        if self._head is None:
            self._count(chunk)
            return
        self._head += chunk
        if len(self._head) >= len(codecs.BOM_UTF8):
            chunk, self._head = self._head, None
            self._count(chunk.removeprefix(codecs.BOM_UTF8))

    def _count(self, chunk: bytes) -> None:
        self._marked.feed(chunk)
        self._parted.feed(chunk)
        if max(self._marked.count, self._parted.count) > MAX_LINES:
            raise BadText(None, f"has more than {MAX_LINES:,} documents")

    def finish(self) -> int:
        """See `TextCheck`."""
        self._unicode.feed(b"", last=True)
        self._count(self._head or b"")
        marked = self._marked.finish()
        count = marked if self._marked.seen else self._parted.count
        if not count:
            raise BadText(None, "holds no text")
        return count


class Pieces:
    """Counts what stands between marks, blank pieces left out."""

    def __init__(self) -> None:
        self.count = 0
        self.seen = False
        self._open = False
        self._carry = b""

    def feed(self, chunk: bytes) -> None:
        """Count in the next bytes."""
        *ended, last = (self._carry + chunk).split(SEPARATOR)
        for piece in ended:
            self.count += self._open or bool(piece.strip())
            self._open, self.seen = False, True
        # The end may be the beginning of a mark.
        cut = max(0, len(last) - len(SEPARATOR) + 1)
        self._carry = last[cut:]
        self._open |= bool(last[:cut].strip())

    def finish(self) -> int:
        """The count, with the piece that the end closes."""
        return self.count + (self._open or bool(self._carry.strip()))


class Paragraphs:
    """Counts what stands between blank lines."""

    def __init__(self) -> None:
        self.count = 0
        self._open = False
        self._carry = b""

    def feed(self, chunk: bytes) -> None:
        """Count in the next bytes."""
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
        """What white space at the end means for what follows it."""
        if _BLANKS.search(space):
            self._open = False
        self._carry = b"\n" if _LINE_BEGINS.search(space) else b""
