"""Atomic file writes (temporary file, fsync, rename), and errors of a full disk.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from slimgpt.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
SLACK = 2**16  # headers and the record beside the tensors


def write_text(file: Path, text: str) -> None:
    """Write a text file, UTF-8; replaces an older one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    data = text.encode()
    write_atomically(file, len(data), lambda aside: aside.write_bytes(data))


def copy(source: Path, target: Path) -> None:
    """Copy a file's content; replaces an older one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    write_atomically(target, source.stat().st_size, lambda aside: shutil.copyfile(source, aside))


def write_atomically(file: Path, needed: int, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file aside, then give it its name.

    Args:
        needed: bytes that the file will take, for the message where the disk is full.

    Raises:
        StorageError: the disk is full or cannot be written; nothing is left of the file aside.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with storage_errors(file, needed):
            aside.touch()
            mode = aside.stat().st_mode
            write(aside)
            aside.chmod(mode)  # safetensors makes files that only their owner reads
            sync(aside)
            aside.replace(file)
            sync(file.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def storage_errors(path: Path, needed: int) -> Iterator[None]:
    """Say what a full or failing disk means for the job.

    Room is looked for before, so that a job does not fill the disk to its last byte first.

    Args:
        path: what is written.
        needed: bytes.

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
                hint="make room there and resume the job",
            ) from error
        raise StorageError(
            f"{path} cannot be written: {error}", hint="check the disk and its permissions"
        ) from error


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(path: Path) -> int:
    """Bytes free where `path` is or will be."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return shutil.disk_usage(there).free
