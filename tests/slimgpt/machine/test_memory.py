"""The memory of freed tensors stays with the process: large ones too lie on its heap."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, torch
from slimgpt.machine import memory

memory.keep_freed()
sbrk = ctypes.CDLL(None).sbrk
sbrk.restype = ctypes.c_void_p
tensor = torch.ones(50_000_000)
print(tensor.data_ptr() < sbrk(0))
"""


def on_heap(**environment: str) -> bool:
    """Whether a tensor of 200 MB lies on the heap, and not in a mapping of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env | environment, capture_output=True, check=True
    )
    return {b"True": True, b"False": False}[done.stdout.strip()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_large_tensors_lie_on_the_heap_unless_the_environment_says_otherwise() -> None:
    assert on_heap()
    assert not on_heap(MALLOC_MMAP_MAX_="65536")
