"""The GPU that the engine computes on, found without a CUDA context, which would take memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pynvml

VISIBLE = "CUDA_VISIBLE_DEVICES"


def find(device: str, environment: Mapping[str, str]) -> Any:
    """NVML's handle of the GPU; None without NVIDIA's driver, or if there is no such GPU.

    Args:
        device: `Settings.device`.
        environment: of the engine; `CUDA_VISIBLE_DEVICES` numbers the GPUs.
    """
    kind, _, number = device.partition(":")
    if kind in ("auto", "cuda"):
        with suppress(pynvml.NVMLError, IndexError):
            pynvml.nvmlInit()
            return _handle(int(number or 0), environment.get(VISIBLE))
    return None


def _handle(number: int, visible: str | None) -> Any:
    """NVML's handle of CUDA's device.

    Raises:
        IndexError: fewer devices are visible.
    """
    name = str(number)
    if visible is not None:
        name = [one.strip() for one in visible.split(",") if one.strip()][number]
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)
