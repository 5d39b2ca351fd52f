"""The device of this worker's engine, in words, found without loading CUDA into this process."""

from __future__ import annotations

import os
import shutil
import subprocess

import psutil

QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
SECONDS = 10.0


def describe(device: str) -> str:
    """The device that a setting stands for on this machine.

    Args:
        device: `Settings.device`.
    """
    if device == "cpu":
        return _processor()
    if device == "mps":
        return "Apple GPU"
    gpus = _gpus()
    if device.startswith("cuda:"):
        number = int(device.partition(":")[2])
        gpus = gpus[number : number + 1]
    if gpus:
        return gpus[0]
    return _processor() if device == "auto" else f"{device}, which this machine does not show"


def _processor() -> str:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    memory = psutil.virtual_memory().total / 2**30
    return f"CPU, {cores} core{'s' * (cores != 1)}, {memory:.0f} GiB"


def _gpus() -> list[str]:
    """The GPUs that this process may use, in their order; none without NVIDIA's tool."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    tool = shutil.which("nvidia-smi")
    if tool is None or visible in ("", "-1"):
        return []
    chosen = [] if visible is None else [f"--id={visible}"]
    try:
        done = subprocess.run(
            [tool, *QUERY, *chosen], capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def _gpu(line: str) -> str:
    name, _, mebibytes = line.rpartition(",")
    memory = mebibytes.strip()
    size = f", {int(memory) / 1024:.0f} GiB" if memory.isdigit() else ""
    return f"{name.strip()}{size}"
