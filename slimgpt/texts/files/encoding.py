"""Bytes of a stranger's file as text: UTF-8, with a mark or without; else it is said what it is."""

from __future__ import annotations

import codecs
from pathlib import Path

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHERS = {
    b"PAR1": "a Parquet file that is packed",  # plain ones are known before
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"{\\rtf": "an RTF document",
    b"\x1f\x8b": "packed by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\xfd7zXZ\0": "packed by xz",
    b"BZh91AY&SY": "packed by bzip2",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a": "a RAR archive",
    b"SQLite format 3\0": "a SQLite database",
    b"ARROW1": "an Arrow file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a pickle",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
}
"""What files of other kinds begin with."""
_PAIRS = 32
_SAID = 200
SMALL = 16 << 20
"""Bytes that a file of options may have."""


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


def _plainly(words: str) -> str:
    """Words that quote a stranger's text, fit for any log, terminal and encoding."""
    shown = words if len(words) <= _SAID else f"{words[:_SAID]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def refuse_binary(head: bytes) -> None:
    """Refuse what is known, and is no text in UTF-8.

    Raises:
        BadText: it is.
    """
    if kind := wide(head):
        raise BadText(None, f"is {kind}, not UTF-8: save it as UTF-8")
    for mark, kind in OTHERS.items():
        if head.startswith(mark):
            raise BadText(None, f"is {kind}, not text")


def wide(head: bytes) -> str | None:
    """`UTF-16` or `UTF-32` where a file begins so, with a mark or with letters of two bytes."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name.upper()
    pairs = head[: 2 * _PAIRS]
    if len(pairs) >= 4 and (not any(pairs[::2]) or not any(pairs[1::2])) and any(pairs):
        return "UTF-16"
    return None


class Utf8Validator:
    """Holds a stream of bytes to UTF-8 without NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._head = b""

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Look at the next bytes.

        Raises:
            BadText: there is a NUL, or what is not UTF-8.
        """
        if len(self._head) < 2 * _PAIRS:
            self._head += chunk[: 2 * _PAIRS]
        try:
            self._decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            refuse_binary(self._head)
            line = self._line + error.object[: error.start].count(b"\n")
            raise BadText(line, f"is not UTF-8 ({error.reason})") from error
        if b"\0" in chunk:
            refuse_binary(self._head)
            line = self._line + chunk[: chunk.index(b"\0")].count(b"\n")
            raise BadText(line, "holds a NUL: the file is binary, not text")
        self._line += chunk.count(b"\n")


def read_small(path: Path) -> str:
    """A file of options, such as a schedule or a specification, as its user's editor saved it.

    UTF-8, UTF-16 and UTF-32 are read, with marks or without, and with any ends of lines.

    Raises:
        OSError: it cannot be read.
        BadText: it is no text, or larger than such a file is.
    """
    with path.open("rb") as file:
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise BadText(None, f"is larger than {SMALL >> 20} MiB")
    return decoded(content)


def decoded(content: bytes) -> str:
    """The text of a whole small file; see `read_small`.

    Raises:
        BadText: it is no text.
    """
    for mark, name in MARKS.items():
        if content.startswith(mark):
            try:
                text = content.decode(name)
            except UnicodeDecodeError as error:
                raise BadText(None, f"is damaged {name.upper()} ({error.reason})") from error
            break
    else:
        unicode = Utf8Validator()
        unicode.feed(content, last=True)
        text = content.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")
