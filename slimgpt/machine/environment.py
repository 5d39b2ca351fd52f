"""Versions and hardware that the numbers of a run depend on. Imports torch only on demand."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimgpt.machine import threads

if TYPE_CHECKING:
    import torch

LIBRARIES = ("datasets", "numpy", "safetensors", "tokenizers", "torch", "transformers")
PROCESSORS = Path("/proc/cpuinfo")
NAMES = ("model name", "Processor", "cpu model", "Hardware")
"""Fields of `/proc/cpuinfo` with the name, by architecture."""


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that compute."""
    return {"python": platform.python_version()} | {one: metadata.version(one) for one in LIBRARIES}


def describe(device: torch.device) -> dict[str, Any]:
    """The fields of `slimgpt.report.schema.EnvironmentReport`."""
    import torch

    return {
        "versions": versions(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": threads.available(),
        "threads": torch.get_num_threads(),
        **(_gpu(device) if device.type == "cuda" else {}),
    }


def processor() -> str:
    """The processor's name; its architecture if the system does not tell more."""
    try:
        lines = PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    pairs = (line.partition(":") for line in lines)
    named = (value.strip() for name, _, value in pairs if name.strip() in NAMES)
    return next(filter(None, named), platform.processor() or platform.machine())


def _gpu(device: torch.device) -> dict[str, Any]:
    import torch

    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "gpu_memory_bytes": found.total_memory,
        "cuda": torch.version.cuda or torch.version.hip or "",
    }
