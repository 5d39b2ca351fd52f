"""`state_of`: tells a model folder from the same folder with other files in it.

What was found out about a model holds for these files only: one that is being copied is another
one a second later, and weights may be replaced beside a config that stays.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from api.checks.positions import MAX_CONFIG_BYTES


def state_of(folder: Path | None) -> str | None:
    """A hash over all files of the folder; None: there is no folder that can be read."""
    if folder is None:
        return None
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return None
    return hashlib.sha256(repr([_state(file) for file in files]).encode()).hexdigest()


def _state(path: Path) -> tuple[object, ...]:
    """What tells a file from another of its name: of a config its content, else size and times.

    A copy may keep the time of its original, but not the time of its own last change (`ctime`).
    """
    try:
        state = path.stat()
        if path.name == "config.json" and path.is_file() and state.st_size <= MAX_CONFIG_BYTES:
            with path.open("rb") as file:
                return path.name, file.read(MAX_CONFIG_BYTES)
    except OSError:  # a dangling link, or gone
        return (path.name,)
    return path.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns
