"""Checks that an untrusted file is UTF-8 text, and names other encodings and binary formats."""

from __future__ import annotations

import codecs
from pathlib import Path

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose byte-order mark is a prefix of it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHERS = {
    b"PAR1": "a Parquet file",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an Office document",
    b"{\\rtf": "an RTF document",
    b"\x1f\x8b": "compressed with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\xfd7zXZ\0": "compressed with xz",
    b"BZh91AY&SY": "compressed with bzip2",
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
"""First bytes of other file formats."""
_PAIRS = 32
_SAID = 200
SMALL = 16 << 20
"""Largest size of a schedule or specification in bytes."""


class BadText(ValueError):  # noqa: N818 - says what is the case
    """The text cannot be used; the message has the line and the reason, printable and short.

    Attributes:
        line: line number from 1; None if the error concerns the whole text.
    """

    def __init__(self, line: int | None, predicate: str) -> None:
        self.line = line
        subject = "the file" if line is None else f"line {line}"
        super().__init__(f"{subject} {_plainly(predicate)}")


def _plainly(words: str) -> str:
    """A message that quotes untrusted text, made printable and short."""
    shown = words if len(words) <= _SAID else f"{words[:_SAID]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def refuse_binary(head: bytes) -> None:
    """Refuse known file formats that are not UTF-8 text.

    Raises:
        BadText: the file has such a format.
    """
    if kind := wide(head):
        raise BadText(None, f"is {kind}, not UTF-8: save it as UTF-8")
    for mark, kind in OTHERS.items():
        if head.startswith(mark):
            raise BadText(None, f"is {kind}, not text")


def wide(head: bytes) -> str | None:
    """`UTF-16` or `UTF-32` if the first bytes show one of them, else None."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name.upper()
    pairs = head[: 2 * _PAIRS]
    if len(pairs) >= 4 and (not any(pairs[::2]) or not any(pairs[1::2])) and any(pairs):
        return "UTF-16"
    return None


class Utf8Validator:
    """Checks that a stream of bytes is UTF-8 without NUL."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._line = 1
        self._head = b""

    def feed(self, chunk: bytes, *, last: bool = False) -> None:
        """Check the next bytes.

        Raises:
            BadText: the bytes are not UTF-8, or contain NUL.
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
            raise BadText(line, "contains NUL: the file is binary, not text")
        self._line += chunk.count(b"\n")


def read_small(path: Path) -> str:
    """Read a small text file, such as a schedule or a specification.

    UTF-8, UTF-16 and UTF-32 are supported, with any line ends; UTF-8 also without byte-order mark.

    Raises:
        OSError: the file cannot be read.
        BadText: it is not text, or larger than `SMALL`.
    """
    with path.open("rb") as file:
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise BadText(None, f"is larger than {SMALL >> 20} MiB")
    return decoded(content)


def decoded(content: bytes) -> str:
    """The text of a small file's content; see `read_small`.

    Raises:
        BadText: it is not text.
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
