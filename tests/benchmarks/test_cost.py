"""Counted operations against PyTorch's own counter, on a job that runs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cost import operations
from benchmarks.cost.operations import FORWARD, GRAM, PROBE, REFIT, TARGET, Job
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers import damage_pass, inputs_cache
from slimgpt.layers.residual_target import DenseStream
from slimgpt.layers.sequence import prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.planning import forecast
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.recipe import Recipe
from tests.slimgpt.tiny import Tiny

SAMPLES, LENGTH = 32, 64
CPU = torch.device("cpu")


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("recipe", get_args(Recipe))
@torch.no_grad()
def test_as_many_operations_are_counted_as_are_done(
    tmp_path: Path, recipe: Recipe, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cached:
        monkeypatch.setattr(inputs_cache, "CACHED_INPUTS", 0)
    folder = Tiny("llama", layers=3, hidden=64, channels=160).save(tmp_path / "model")
    spec = PruneSpec(model="local:model", ratio=0.2, recipe=recipe)
    checkpoint = Checkpoint.open(folder)
    dense = checkpoint.architecture.sizes[0]
    after = tuple(LayerSize(dense.heads // 2, dense.kv_heads // 2, 80) for _ in range(3))
    stack, batches = Stack(checkpoint, CPU), list[torch.Tensor]()
    ids = torch.randint(0, 50, (SAMPLES, LENGTH))
    beside = None
    with FlopCounterMode(display=False) as counter:
        if recipe == "measured":
            costs = forecast.costs_of(checkpoint, spec)
            list(damage_pass.measure(stack, ids, costs, methods.settings_of(spec)))
        batches = stack.embed(ids)
        if spec.residual_target:
            beside = DenseStream([*batches], spec.residual_target)
        for index, target in enumerate(after):
            prune_layer(stack, index, target, batches, methods.of(spec), None, beside)
    job = Job(checkpoint.architecture, checkpoint.config, after, SAMPLES, LENGTH, cached)
    counted = sum(
        amount * (2 if step == GRAM else 1)  # narrow ones are multiplied whole
        for stage in operations.of(job, recipe).values()
        for (step, _), amount in stage.items()
        if step in (FORWARD, GRAM, PROBE, REFIT, TARGET)
    )
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.1)
