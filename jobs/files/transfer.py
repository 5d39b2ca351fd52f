"""File copies with SHA-256, cancellable, atomic on a local disk."""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

CHUNK = 1 << 20
LARGE = 64 << 20
MOST_PACKED = 16
Stop = Callable[[], bool]


class Interrupted(Exception):  # noqa: N818 - says what is the case
    """The transfer was stopped; its partial output was removed."""


def never() -> bool:
    """A `stop` that never stops."""
    return False


def plain(path: str) -> str:
    """Validate a relative path without `..`; returns it unchanged.

    Raises:
        ValueError: it is empty, absolute, or leaves its folder, on this system or another.
    """
    odd = "\\" in path or "\0" in path or path.startswith("/")
    if odd or posixpath.normpath(path) != path or path in ("", ".") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a plain relative path")
    return path


def files_of(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, with `/`, sorted.

    Raises:
        ValueError: an entry is neither a file nor a folder (a link, a device), or is a sparse file,
            whose copy would fill the disk.
    """
    paths = []
    for entry in sorted(folder.rglob("*")):
        path = entry.relative_to(folder).as_posix()
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise ValueError(f"{path!r} is neither a file nor a folder; it is not published")
        if entry.is_file():
            if is_sparse(entry):
                raise ValueError(f"{path!r} is larger than what was written; it is not published")
            paths.append(plain(path))
    return paths


def is_sparse(path: Path) -> bool:
    """Whether a large file is sparse: extended, but hardly written.

    Few blocks alone prove nothing, because some file systems compress or do not count them; so the
    file must have a hole, too.
    """
    with path.open("rb") as file:
        known = os.fstat(file.fileno())
        if known.st_size < LARGE or known.st_blocks * 512 * MOST_PACKED > known.st_size:
            return False
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < known.st_size
        except OSError:  # SEEK_HOLE is not supported
            return False


def copy(source: IO[bytes], write: Callable[[bytes], Any], stop: Stop) -> tuple[int, str]:
    """Copy to the end. Returns bytes and SHA-256.

    Raises:
        Interrupted: `stop` returned True; it is called before every chunk.
    """
    size, digest = 0, hashlib.sha256()
    while True:
        if stop():
            raise Interrupted
        if not (chunk := source.read(CHUNK)):
            return size, digest.hexdigest()
        write(chunk)
        digest.update(chunk)
        size += len(chunk)


def copy_file(source: Path, target: Path, stop: Stop) -> tuple[int, str]:
    """Copy a file to a local path and fsync it; creates folders. Returns bytes and SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        known = copy(reading, writing.write, stop)
        writing.flush()
        os.fsync(writing.fileno())
    return known


def copy_aside(source: Path, target: Path, stop: Stop) -> tuple[int, str]:
    """As `copy_file`, under a temporary name that is replaced when the copy is complete."""
    aside = target.with_name(f".{target.name}.partial")
    try:
        known = copy_file(source, aside, stop)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return known


def fill(folder: Path, files: Sequence[str], target: Path, stop: Stop) -> list[tuple[int, str]]:
    """Copy a folder's files into a new folder `target`; bytes and SHA-256 of each."""
    target.mkdir(parents=True)
    known = []
    for path in files:
        known.append(copy_file(folder / path, target / path, stop))
    return known


def swap_in(aside: Path, target: Path) -> None:
    """Rename a complete folder to `target`, replacing an older one, with fsync."""
    for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
        sync(folder)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)
    for folder in (target.parent, target.parent.parent):
        sync(folder)


def replace(target: Path, content: bytes) -> None:
    """Write a local file atomically, with fsync; creates folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    sync(target.parent)


def sync(folder: Path) -> None:
    """fsync a folder, so that renames in it are durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
