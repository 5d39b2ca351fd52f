"""The generated pepper file below `home`, used where no operator sets one."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "pepper"


def read_pepper(home: Path) -> str:
    """The pepper in a home, empty if it has none that this process may read."""
    with suppress(OSError, UnicodeError):
        return (home / NAME).read_text(encoding="ascii").strip()
    return ""


def ensure_pepper(home: Path) -> None:
    """Give a home a pepper, readable for its owner only; the one that it has stays.

    Raises:
        OSError: it cannot be written.
    """
    if read_pepper(home):
        return
    # Whole or not at all: another pepper would make every secret another.
    aside = home / f".{NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(home / NAME)
