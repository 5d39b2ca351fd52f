"""`python -m tests.slimgpt.planning.peak MODEL`: bytes that measuring a perplexity takes at most.

A process of its own, whose heap has no freed memory of earlier tests to take it from.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.layers import perplexity
from slimgpt.layers.stack import Stack
from slimgpt.machine import memory

CPU = torch.device("cpu")


def main(folder: Path) -> int:
    """Of 16 windows of 128 tokens."""
    stack = Stack(Checkpoint.open(folder), CPU)
    gc.collect()
    memory.forget_peak(CPU)
    before = memory.peak_bytes(CPU)
    for _ in perplexity.measure(stack, torch.zeros(16, 128, dtype=torch.int64)):
        pass
    return memory.peak_bytes(CPU) - before


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]))))
