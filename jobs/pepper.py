"""The generated pepper file below `home`, used if SLIMGPT_KEY_PEPPER is not set."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "pepper"


def read_pepper(home: Path) -> str:
    """The pepper of a home; empty if there is none that this process can read."""
    with suppress(OSError, UnicodeError):
        return (home / NAME).read_text(encoding="ascii").strip()
    return ""


def ensure_pepper(home: Path) -> None:
    """Create a home's pepper, readable for its owner only, if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    if read_pepper(home):
        return
    # Atomic: a partial pepper would change every secret.
    aside = home / f".{NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(home / NAME)
