"""Tensors in and out of one safetensors file.

Files are written aside, synced and renamed, so that a name only ever stands for a whole file.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slimgpt.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
SLACK = 2**16  # headers and the record beside the tensors


def load(file: Path, names: Iterable[str] | None = None, device: str = "cpu") -> dict[str, Tensor]:
    """Read some or all tensors of a file, in the dtype in which they are stored.

    Tensors are copied out of the file's memory map and the map is closed: one that stays open
    keeps every page that was ever read in the resident set.

    Args:
        names: all if None.
        device: where the tensors go.

    Raises:
        SafetensorError: the file is torn, or has no tensor of that name.
    """
    with safe_open(file, framework="pt", device=device) as stored:
        wanted = stored.keys() if names is None else names
        return {name: stored.get_tensor(name).clone() for name in wanted}


def save(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as one file that transformers reads; replaces an older one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    needed = sum(tensor.nbytes for tensor in contiguous.values())
    write_aside(file, needed, lambda aside: save_file(contiguous, aside, metadata={"format": "pt"}))


def write_aside(file: Path, needed: int, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file aside, then give it its name.

    Args:
        needed: bytes that the file will take, for the message where the disk is full.

    Raises:
        StorageError: the disk is full or cannot be written; nothing is left of the file aside.
    """
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with storage_errors(file, needed):
            write(aside)
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
