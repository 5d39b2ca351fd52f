"""The dense pass before pruning, against hooks on the whole model; FLAP's one pool of all units."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.layers import dense_pass
from slimgpt.layers.stack import Stack
from slimgpt.planning import forecast
from slimgpt.planning.costs import Costs
from slimgpt.spec.prune import HeadUnit, PruneSpec
from tests.slimgpt.tiny import Tiny, tokens

TINY = Tiny("llama", heads=8, kv_heads=4, channels=20, layers=3)


def dense_layers(
    tmp_path: Path, token_ids: Tensor, head_unit: HeadUnit = "kv_group"
) -> tuple[list[dense_pass.DenseLayer], Costs]:
    checkpoint = Checkpoint.open(TINY.save(tmp_path / "model"))
    spec = PruneSpec(model="local:x", ratio=0.2, head_unit=head_unit)
    costs = forecast.costs_of(checkpoint, spec)
    stack = Stack(checkpoint, torch.device("cpu"))
    return list(dense_pass.dense_pass(stack, token_ids, costs)), costs


def test_variances_are_those_of_the_dense_model(tmp_path: Path) -> None:
    token_ids = tokens(TINY, batch=300, length=32)
    layers, _ = dense_layers(tmp_path, token_ids)
    whole = TINY.build().double()
    seen: list[Tensor] = []

    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].flatten(0, 1).var(0, unbiased=False))

    for layer in whole.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(note)
        layer.mlp.down_proj.register_forward_pre_hook(note)
    with torch.no_grad():
        whole(token_ids)
    got = [v for layer in layers for v in (layer.variances.attention, layer.variances.ffn)]
    assert len(got) == len(seen) == 6
    for one, other in zip(got, seen, strict=True):
        assert torch.allclose(one.double(), other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("head_unit", ["kv_group", "query_head"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.8, 1.0])
def test_the_least_scores_of_the_whole_model_leave(
    head_unit: HeadUnit, share: float, tmp_path: Path
) -> None:
    layers, costs = dense_layers(tmp_path, tokens(TINY), head_unit)
    pool: list[tuple[float, int, int, int]] = []
    for index, (layer, cost) in enumerate(zip(layers, costs.layers, strict=True)):
        assert len(layer.heads) == cost.units
        pool += [(float(score), index, 0, cost.unit) for score in layer.heads]
        pool += [(float(score), index, 1, cost.channel) for score in layer.channels]
    budget = share * sum(parameters for *_, parameters in pool)
    expected, spent = [[0, 0] for _ in layers], 0
    for _, index, kind, parameters in sorted(pool, key=lambda unit: unit[0]):
        spent += parameters
        if spent > budget:
            break
        expected[index][kind] += 1
    removed = dense_pass.global_allocation(layers, costs)(share)
    assert [list(pair) for pair in zip(removed.heads, removed.channels, strict=True)] == expected
