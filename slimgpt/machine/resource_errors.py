"""Maps out-of-memory and disk-full errors of torch and the OS to `SlimGPTError`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from slimgpt.errors import MemoryExhaustedError, StorageError

CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch has no exception class for exhausted host memory


@contextmanager
def expected(place: Path) -> Iterator[None]:
    """Turn out-of-memory and disk-full errors into `SlimGPTError`.

    Args:
        place: the output folder, for errors that name no file.

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
            hint="use a larger device; the FFN's Hessian needs most, FFN width² × 16 bytes",
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
        hint="use fewer or shorter calibration sequences: host memory holds the activations of all",
    )
