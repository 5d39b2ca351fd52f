"""The forecast of memory against memory that a process really took."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError
from slimgpt.machine import memory
from slimgpt.planning import forecast
from slimgpt.spec.prune import PruneSpec
from tests.fork_server import ForkServer
from tests.slimgpt.tiny import Tiny

SPEC = PruneSpec(model="local:x", ratio=0.0)


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux can clear the peak")
def test_the_logits_of_a_large_vocabulary_are_foreseen(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    folder = Tiny(vocabulary=40_000, layers=1).save(tmp_path / "model")
    words = [*fork_server.command("tests.slimgpt.planning.peak"), str(folder)]
    taken = int(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    foreseen = forecast.make(Checkpoint.open(folder), SPEC).peak_memory_bytes
    assert 0.5 * foreseen < taken < 1.3 * foreseen


EXPERTS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"method": "flap"}, "method `flap` scores one FFN per layer"),
    ({"recovery": {}}, "adapters cannot train this model's experts"),
    ({"channel_multiple": 12}, "channel_multiple 12: with experts or tensor_parallel, the FFN"),
]


@pytest.mark.parametrize(("asked", "message"), EXPERTS_REFUSED)
def test_what_does_not_know_experts_is_refused(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    checkpoint = Checkpoint.open(Tiny("mixtral").save(tmp_path / "model"))
    spec = PruneSpec.model_validate({"model": "local:x", "ratio": 0.2, **asked})
    with pytest.raises(SpecError, match=message):
        forecast.make(checkpoint, spec)


def test_experts_keep_widths_that_can_be_grouped(tmp_path: Path) -> None:
    tiny = Tiny("qwen3_moe", channels=512, heads=8, kv_heads=4, layers=8)
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "model"))
    made = forecast.make(checkpoint, PruneSpec(model="local:x", ratio=0.25)).plan
    assert made.parameters_after == pytest.approx(0.75 * checkpoint.parameters, rel=0.002)
    assert all(size.channels % 8 == 0 for size in made.after)
    assert made.after[-1].channels < 512
