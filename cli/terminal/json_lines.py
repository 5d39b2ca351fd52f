"""Standard output as JSON lines only; other output goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Write = Callable[[str], None]


@contextmanager
def json_lines() -> Iterator[Write]:
    """A function that writes one line to standard output at once.

    Meanwhile whatever libraries print there goes to standard error, by file descriptor, so that
    code written in C is caught too.
    """
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(own, "w", encoding="utf-8", buffering=1, closefd=False)

    def write(line: str) -> None:
        stream.write(line + "\n")
        stream.flush()

    try:
        yield write
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)
