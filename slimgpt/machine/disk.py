"""Atomic writes of files and folders (temporary name, fsync, rename), and errors of a full disk.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from slimgpt.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
SLACK = 2**16  # bytes for headers and the layer's record
HINT = 2**18  # bytes; of a longer hint Linux follows only the beginning


def write_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8; an existing file is replaced.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    data = text.encode()
    write_atomically(file, len(data), lambda aside: aside.write_bytes(data))


def read_ahead(file: Path, offset: int, size: int) -> None:
    """Have the system read a part of a file into its cache while this process computes.

    Returns at once. Without effect where the system takes no such hint, or the file is gone.
    """
    if sys.platform == "linux":
        with suppress(OSError), file.open("rb") as opened:
            for start in range(offset, offset + size, HINT):
                length = min(HINT, offset + size - start)
                os.posix_fadvise(opened.fileno(), start, length, os.POSIX_FADV_WILLNEED)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content; an existing file is replaced.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    write_atomically(target, source.stat().st_size, lambda aside: shutil.copyfile(source, aside))


def write_atomically(file: Path, needed: int, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then rename it to `file`.

    Args:
        needed: size of the file in bytes, for the error message.

    Raises:
        StorageError: the disk is full or cannot be written; the temporary file is removed.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with storage_errors(file, needed):
            aside.touch()
            mode = aside.stat().st_mode
            write(aside)
            aside.chmod(mode)  # safetensors creates files that only their owner can read
            sync(aside)
            aside.replace(file)
            sync(file.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A temporary folder, renamed to `destination` at the end; removed on an exception.

    Args:
        destination: absent or empty.

    Raises:
        StorageError: the destination exists, or the disk is full or cannot be written.
    """
    require_new(destination)
    aside = destination.with_name(f".{destination.name}.new")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed process
    try:
        with storage_errors(destination, 0):
            aside.mkdir(parents=True)
        yield aside
        with storage_errors(destination, 0):
            for path in (*aside.rglob("*"), aside):
                sync(path)
            aside.rename(destination)
            sync(destination.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_new(destination: Path) -> None:
    """Check that a folder can be created.

    Raises:
        StorageError: the destination exists and is not an empty folder.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise StorageError(f"{destination} exists already", hint="choose another folder")


@contextmanager
def storage_errors(path: Path, needed: int) -> Iterator[None]:
    """Turn errors of a full or failing disk into `StorageError`.

    Free space is checked first, so that a job does not fill the disk before it fails.

    Args:
        path: the file or folder to write.
        needed: its size in bytes.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    try:
        if _free(path) < needed + SLACK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in FULL or any(f"os error {code})" in str(error) for code in FULL):
            free = _free(path)
            raise StorageError(
                f"the disk is full: {path.name} needs {needed / 1e6:.1f} MB in {path.parent}, "
                f"{free / 1e6:.1f} MB are free",
                hint=f"free space in {path.parent} and resume the job",
            ) from error
        raise StorageError(
            f"{path} cannot be written: {error}",
            hint="check the disk and the folder's permissions",
        ) from error


def sync(path: Path) -> None:
    """Flush a file or folder to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(path: Path) -> int:
    """Free bytes on the file system of `path`, which need not exist."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return shutil.disk_usage(there).free
