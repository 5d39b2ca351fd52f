"""Opens a text file: decompresses gzip and checks that the content is UTF-8."""

from __future__ import annotations

import gzip
import mmap
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from slimgpt.errors import CalibrationError, StorageError
from slimgpt.texts.files.detection import GZIP, HEAD
from slimgpt.texts.files.encoding import BadText, Utf8Validator

UNPACKED_LIMIT = 4 << 30  # bytes; a small .gz can decompress to more than the disk holds
_CHUNK = 1 << 20


def head_of(path: Path, source: str) -> bytes:
    """The first bytes of a file, not decompressed.

    Raises:
        CalibrationError: the file cannot be read.
    """
    with _readable(source), path.open("rb") as file:
        return file.read(HEAD)


def opened(path: Path, source: str) -> mmap.mmap:
    """The file's decompressed content as a memory map, checked to be UTF-8 text.

    Raises:
        CalibrationError: the file cannot be read, is damaged, too large, empty, or not text.
        StorageError: the disk has too little space to decompress it.
    """
    with _readable(source), path.open("rb") as file:
        if file.read(len(GZIP)) == GZIP:
            return _unpacked(path, source)
        return _mapped(file, source)


@contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CalibrationError(
            f"{source}: the file cannot be read ({error.strerror or type(error).__name__})",
            hint="check the file's permissions",
        ) from error


def _unpacked(path: Path, source: str) -> mmap.mmap:
    total = 0
    with tempfile.TemporaryFile(prefix="slimgpt-text-") as file, gzip.open(path, "rb") as packed:
        for chunk in _chunks(packed, source):
            total += len(chunk)
            if total > UNPACKED_LIMIT:
                raise CalibrationError(
                    f"{source}: decompresses to more than {UNPACKED_LIMIT >> 30} GiB",
                    hint="calibration needs a few megabytes of text: use a part of the file",
                )
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise StorageError(
                    f"{source}: too little disk space to decompress it ({error.strerror})",
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
    unicode, size = Utf8Validator(), 0
    try:
        while chunk := file.read(_CHUNK):
            unicode.feed(chunk)
            size += len(chunk)
        unicode.feed(b"", last=True)
    except BadText as error:
        raise no_text(source, error) from error
    if not size:
        raise CalibrationError(f"{source}: the file is empty", hint="provide a file with text")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def no_text(source: str, error: BadText) -> CalibrationError:
    """The error for a file that is not text."""
    return CalibrationError(
        f"{source}: {error}",
        hint="provide JSON lines, a JSON array, CSV, TSV, uncompressed Parquet or plain "
        "text, in UTF-8",
    )
