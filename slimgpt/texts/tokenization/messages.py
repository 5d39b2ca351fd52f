"""Messages between two processes over pipes: a length, and so many bytes."""

from __future__ import annotations

import os
import select
import struct
import time
from typing import IO

LENGTH = struct.Struct("<Q")


def write(stream: IO[bytes], raw: bytes) -> None:
    """Write one message."""
    stream.write(LENGTH.pack(len(raw)) + raw)
    stream.flush()


def read(stream: IO[bytes], seconds: float | None = None) -> bytes:
    """Read one message.

    Raises:
        EOFError: the other process has ended.
        TimeoutError: no complete message arrives in time.
    """
    over = None if seconds is None else time.monotonic() + seconds
    raw, wanted = bytearray(), LENGTH.size
    length = None
    while len(raw) < wanted:
        left = None if over is None else max(0.0, over - time.monotonic())
        if not select.select([stream], [], [], left)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), min(wanted - len(raw), 1 << 20))
        if not part:
            raise EOFError
        raw += part
        if length is None and len(raw) == wanted:
            (length,) = LENGTH.unpack(raw)
            raw, wanted = bytearray(), length
    return bytes(raw)
