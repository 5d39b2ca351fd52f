"""Failures of the system, provoked, and what a user reads of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from slimgpt.errors import MemoryExhaustedError, StorageError
from slimgpt.machine import resource_errors


def test_host_memory_that_ran_out_in_torch_is_no_defect_of_the_engine(tmp_path: Path) -> None:
    with pytest.raises(MemoryExhaustedError, match="host"), resource_errors.expected(tmp_path):
        torch.empty(2**60, dtype=torch.uint8)


def test_host_memory_that_ran_out_in_python_is_no_defect_of_the_engine(tmp_path: Path) -> None:
    with pytest.raises(MemoryExhaustedError, match="host"), resource_errors.expected(tmp_path):
        bytearray(2**60)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)),
        resource_errors.expected(tmp_path),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        resource_errors.expected(tmp_path),
    ):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    with pytest.raises(FileNotFoundError), resource_errors.expected(tmp_path):
        (tmp_path / "absent").read_bytes()
