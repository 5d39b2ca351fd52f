"""The device of this worker's engine, in words, found without loading CUDA into this process."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil
import pynvml

from slimgpt.machine import threads
from worker.engine import gpu


def describe(device: str) -> str:
    """The device that a setting stands for on this machine.

    Args:
        device: `Settings.device`.
    """
    if device == "cpu":
        return _processor()
    if device == "mps":
        return "Apple GPU"
    handle = gpu.find(device, os.environ)
    with suppress(pynvml.NVMLError):
        if handle is not None:
            return _gpu(handle)
    return _processor() if device == "auto" else f"{device}, which this machine does not show"


def _processor() -> str:
    cores = threads.available()
    return f"CPU, {cores} core{'s' * (cores != 1)}, {_gibibytes(psutil.virtual_memory().total)}"


def _gpu(handle: object) -> str:
    """Name and memory; the driver does not tell the memory of every GPU.

    Raises:
        NVMLError: there is no name.
    """
    name = str(pynvml.nvmlDeviceGetName(handle))
    with suppress(pynvml.NVMLError):
        return f"{name}, {_gibibytes(pynvml.nvmlDeviceGetMemoryInfo(handle).total)}"
    return name


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.0f} GiB"
