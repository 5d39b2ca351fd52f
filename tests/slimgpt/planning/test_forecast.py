"""The forecast of memory against memory that a process really took."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import PruneSpec
from slimgpt.layers import perplexity
from slimgpt.layers.stack import Stack
from slimgpt.planning import forecast
from tests.slimgpt.tiny import Tiny, tokens

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SPEC = PruneSpec(model="local:x", ratio=0.0)


def resident(field: str) -> int:
    """`VmRSS`, or `VmHWM`, the most since the mark was last cleared; bytes."""
    (line,) = [x for x in STATUS.read_text().splitlines() if x.startswith(field + ":")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not CLEAR.exists(), reason="only Linux can clear the mark of peak memory")
def test_the_logits_of_a_large_vocabulary_are_foreseen(tmp_path: Path) -> None:
    tiny = Tiny(vocabulary=40_000, layers=1)
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    windows = tokens(tiny, batch=16, length=128)
    stack = Stack(checkpoint, torch.device("cpu"))
    gc.collect()
    CLEAR.write_text("5")
    before = resident("VmRSS")
    for _ in perplexity.measure(stack, windows):
        pass
    taken = resident("VmHWM") - before
    foreseen = forecast.make(checkpoint, SPEC).peak_memory_bytes
    assert 0.5 * foreseen < taken < 1.3 * foreseen
