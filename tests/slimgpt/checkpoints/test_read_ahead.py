"""While a layer is pruned, the next one comes into the system's cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from tests.servers import wait_until
from tests.slimgpt.tiny import Tiny


def cached(file: Path, offset: int, size: int) -> float:
    """Share of a part of a file whose pages are in memory."""
    with file.open("rb") as opened:
        pages = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
    mapped = np.frombuffer(pages, dtype=np.uint8)
    found = (ctypes.c_ubyte * -(-len(pages) // mmap.PAGESIZE))()
    start = ctypes.c_void_p(mapped.ctypes.data)
    assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(len(pages)), found) == 0
    first, last = offset // mmap.PAGESIZE, (offset + size - 1) // mmap.PAGESIZE
    return float(np.mean(np.array(found[first : last + 1]) & 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what its cache holds")
def test_the_next_layer_is_read_ahead(tmp_path: Path) -> None:
    """The layers are larger than what systems read ahead by themselves, 8 MiB here."""
    checkpoint = Checkpoint.open(Tiny(hidden=256, channels=10_240).save(tmp_path / "model"))
    (file,) = {info.file for info in checkpoint.tensors.values()}
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    parts = [checkpoint.tensors[name] for name in checkpoint.layer_names(1)]
    if cached(file, 0, file.stat().st_size):
        pytest.skip("this file system keeps its files in memory")
    checkpoint.layer(0)
    wait_until(lambda: all(cached(file, x.offset, x.bytes) == 1 for x in parts), "it was read")
    checkpoint.layer(1)  # the last
