"""Single byte ranges (RFC 9110, section 14)."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


class RangeError(ValueError):
    """The range starts beyond the end of the file."""


def parse(header: str | None, size: int) -> tuple[int, int] | None:
    """The part of a file of `size` bytes that a Range header asks for.

    Args:
        header: value of the Range header, if any.
        size: size of the file in bytes.

    Returns:
        (start, stop) in bytes, stop exclusive; None for the whole file: no header, several
        ranges, or a header that is malformed, all of which RFC 9110 lets a server ignore.

    Raises:
        RangeError: no byte of the file is in the range.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # bytes=-N: the last N bytes
        start, stop = max(0, size - int(last)), size
        satisfiable = int(last) > 0 and size > 0
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
        satisfiable = start < size
    if not satisfiable:
        raise RangeError(header)
    return start, stop
