"""Maps out-of-memory and disk-full errors of torch and the OS to `SlimGPTError`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from slimgpt.errors import MemoryExhaustedError, StorageError

CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch has no class of its own for host memory that ran out


@contextmanager
def expected(place: Path) -> Iterator[None]:
    """Say in the engine's own errors what the system says in its.

    Args:
        place: the folder that is written to, for errors that name no file.

    Raises:
        StorageError: the disk is full or read-only.
        MemoryExhaustedError: the device or the host has no memory left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise StorageError(
            f"{error.filename or place}: {error.strerror}", hint="free space and resume"
        ) from error
    except torch.OutOfMemoryError as error:
        raise MemoryExhaustedError(
            f"the device is out of memory: {str(error).splitlines()[0]}",
            hint="use a larger device; what needs most is the FFN's Hessian, width² × 4 bytes × 4",
        ) from error
    except MemoryError as error:
        raise _host() from error
    except RuntimeError as error:
        if CPU_ALLOCATOR not in str(error):
            raise
        raise _host() from error


def _host() -> MemoryExhaustedError:
    return MemoryExhaustedError(
        "the host is out of memory",
        hint="use fewer or shorter sequences of text: the activations of all are held there",
    )
