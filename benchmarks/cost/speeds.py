"""Speeds of machines: this one's measured, a GPU's as its maker states them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.cost.operations import Kind

Speeds = Mapping[Kind, float]
"""Operations a second, or bytes a second."""
ROWS, HIDDEN, CHANNELS = 4096, 576, 1536
REPEATS = 20

STATED: Mapping[str, Speeds] = {
    "H200": {"half": 989e12, "single": 989e12, "factor": 67e12, "disk": 7e9},
    "A100": {"half": 312e12, "single": 312e12, "factor": 19.5e12, "disk": 7e9},
}
"""NVIDIA's data sheets (SXM, dense): bfloat16 products, which Gram matrices are too on a GPU
(accumulated in float32), and float32 for factorisations. Disk: one NVMe of PCIe 4."""


@functools.cache
def measured(folder: Path) -> Speeds:
    """This machine's, on products as of a small model's FFN and on the checkpoint's own files."""
    X, W = torch.randn(ROWS, HIDDEN).bfloat16(), torch.randn(CHANNELS, HIDDEN).bfloat16()
    Y = torch.randn(ROWS, CHANNELS)
    H = (Y.T @ Y).double() + torch.eye(CHANNELS, dtype=torch.float64)
    return {
        "half": 2 * ROWS * HIDDEN * CHANNELS / _best(lambda: X @ W.T),
        "single": 2 * ROWS * CHANNELS**2 / _best(lambda: Y.T @ Y),
        "factor": CHANNELS**3 / _best(lambda: torch.cholesky_inverse(torch.linalg.cholesky(H))),
        "disk": _read(folder),
    }


def _best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some repetitions, the first not counted."""
    run()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _read(folder: Path) -> float:
    """Bytes a second of reading the weights, cached by the system or not."""
    files = sorted(folder.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    return (
        size / _best(lambda: [file.read_bytes() for file in files])
        if files
        else STATED["H200"]["disk"]
    )
