"""Measured damage against whole models: cut one module, compare the outputs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers import damage_pass
from slimgpt.layers.stack import Stack
from slimgpt.methods import damage, registry
from slimgpt.planning import forecast
from slimgpt.planning.damage import Damage
from slimgpt.spec.prune import PruneSpec, ScheduleSpec
from tests.slimgpt.layers.test_sequence import inputs_of, prune_by_refits
from tests.slimgpt.tiny import FAMILIES, ROUTED, Tiny, tokens

CPU = torch.device("cpu")
SPEC = PruneSpec.model_validate(
    {"model": "local:x", "ratio": 0.3, "schedule": {"shape": "measured"}, "head_unit": "mixed"}
)


def measured(folder: Path, token_ids: Tensor) -> Damage:
    checkpoint = Checkpoint.open(folder)
    costs = forecast.costs_of(checkpoint, SPEC)
    measuring = damage_pass.measure(
        Stack(checkpoint, CPU), token_ids, costs, registry.settings_of(SPEC)
    )
    while True:
        try:
            next(measuring)
        except StopIteration as finished:
            found: Damage = finished.value
            return found


def weighted_inputs(model: Any, projection: Any, after: Any, token_ids: Tensor) -> Tensor:
    """Inputs of a projection, each token's over the length of the stream that `after` is given."""
    X = inputs_of(model, projection, token_ids)
    stream = inputs_of(model, after, token_ids)
    weighted: Tensor = X / stream.norm(dim=1, keepdim=True)
    return weighted


def divergence(dense: Tensor, other: Tensor) -> float:
    """KL divergence of the second from the first, nats a token."""
    p, q = dense.log_softmax(-1), other.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


@torch.no_grad()
def test_the_damage_is_that_of_the_model_with_one_module_cut(tmp_path: Path) -> None:
    model = Tiny("llama", heads=8, kv_heads=4, hidden=32, channels=12, layers=2)
    token_ids = tokens(model, batch=24, length=32, seed=5)
    found = measured(model.save(tmp_path / "model"), token_ids)
    probe = token_ids[: forecast.PROBES]

    # The FFN of the first layer with 7 of 12 channels; the stream behind it is the second's input.
    whole: Any = model.build().double()
    dense = whole(probe).logits
    layer, second = whole.model.layers
    X = weighted_inputs(whole, layer.mlp.down_proj, second.input_layernorm, token_ids)
    singles = [[channel] for channel in range(12)]
    prune_by_refits(layer.mlp.down_proj.weight.data, X, singles, [list(range(12))] * 5)
    [ffn] = [one for one in found.layers[0].ffn if one.channels == 7]
    assert ffn.damage == pytest.approx(divergence(dense, whole(probe).logits), rel=1e-3)

    # The attention of the second layer without one of its groups of two query heads.
    whole = model.build().double()
    layer = whole.model.layers[1]
    X = weighted_inputs(whole, layer.self_attn.o_proj, layer.post_attention_layernorm, token_ids)
    groups = [list(range(first, first + 8)) for first in range(0, 32, 8)]
    prune_by_refits(layer.self_attn.o_proj.weight.data, X, groups, [[0, 1, 2, 3]])
    [level] = [one for one in found.layers[1].attention if (one.heads, one.kv_heads) == (6, 3)]
    assert level.damage == pytest.approx(divergence(dense, whole(probe).logits), rel=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_curves(family: str, tmp_path: Path) -> None:
    model = Tiny(family, heads=4, kv_heads=2, hidden=16, channels=32, layers=2)
    found = measured(model.save(tmp_path / "model"), tokens(model, batch=24, length=32, seed=5))
    step = 8 if family in ROUTED else 1
    assert len(found.layers) == 2
    for layer in found.layers:
        for curve in (layer.attention, layer.ffn):
            assert curve[0].damage == 0
            assert all(level.damage > 0 for level in curve[1:])
        assert [level.channels for level in layer.ffn] == list(range(32, 0, -step))


def test_losses_of_layers_that_were_not_measured_are_interpolated() -> None:
    """Exactly, where the ratio of loss to error is exponential in depth."""

    def loss(layer: int, error: float) -> float:
        return math.exp(0.3 * layer - 2) * math.sqrt(error) * error

    def module(layer: int, errors: list[float], *, known: bool) -> damage.Module[LayerSize]:
        losses = {level: loss(layer, errors[level]) for level in (1, 2)} if known else {}
        return damage.Module("ffn", [], [], [1, 2], errors, losses)

    errors = [0.0, 0.4, 1.7]
    modules = [module(layer, errors, known=layer in (0, 3)) for layer in range(4)]
    modules.insert(2, damage.Module("ffn", [], [], [], [0.0]))  # one that can lose nothing
    modules[-1] = module(4, errors, known=True)
    modules[3] = module(3, errors, known=False)
    damage.interpolate(modules)
    for layer in (0, 1, 3, 4):
        expected = {level: loss(layer, errors[level]) for level in (1, 2)}
        assert modules[layer].losses == pytest.approx(expected)
    assert modules[2].damages == [0.0]


def test_of_many_layers_that_can_lose_something_every_second_is_measured(tmp_path: Path) -> None:
    costs = forecast.costs_of(
        Checkpoint.open(Tiny("llama", heads=4, kv_heads=2, layers=14).save(tmp_path)), SPEC
    )
    found = forecast.measured_layers(costs)
    assert found == {kind: {*range(0, 14, 2), 13} for kind in ("attention", "ffn")}
    dead = replace(costs.layers[1], size=LayerSize(1, 1, 1))
    layers = (costs.layers[0], dead, *costs.layers[2:])
    found = forecast.measured_layers(replace(costs, layers=layers))
    assert found == {kind: {0, *range(3, 14, 2)} for kind in ("attention", "ffn")}
    few = replace(costs, layers=costs.layers[:12])
    assert forecast.measured_layers(few)["ffn"] == {*range(12)}


def test_the_curve_of_a_wide_ffn_ends_at_the_least_width(tmp_path: Path) -> None:
    model = Tiny("llama", heads=4, kv_heads=2, hidden=16, channels=200, layers=1)
    found = measured(model.save(tmp_path / "model"), tokens(model, batch=24, length=32, seed=5))
    widths = [level.channels for level in found.layers[0].ffn]
    assert len(widths) < 60
    assert widths[0] == 200
    assert widths[-1] == 1


def test_streams_in_host_memory_are_foreseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that lie there at the end of the survey, when they are most."""
    model = Tiny("llama", heads=8, kv_heads=4, hidden=32, channels=96, layers=3)
    folder, held = model.save(tmp_path / "model"), list[Tensor]()
    compare = damage_pass._compare

    def counted(stack: Stack, dense: Tensor, probes: list[damage_pass._Probe]) -> None:
        held.extend(probe.stream for probe in probes)
        compare(stack, dense, probes)

    monkeypatch.setattr(damage_pass, "_compare", counted)
    measured(folder, tokens(model, batch=16, length=32, seed=5))
    calibration = {"samples": 16, "sequence_length": 32}
    spec = PruneSpec.model_validate({**SPEC.model_dump(), "calibration": calibration})
    checkpoint = Checkpoint.open(folder)
    stream = 16 * 32 * model.hidden * 4
    foreseen = forecast.make(checkpoint, spec).activation_bytes
    assert foreseen == stream + sum(one.nbytes for one in held)
    assert all(one.device == CPU for one in held)
    plain = spec.model_copy(update={"schedule": ScheduleSpec(), "head_unit": "kv_group"})
    assert forecast.make(checkpoint, plain).activation_bytes == stream
    towards = plain.model_copy(update={"residual_target": 0.5})
    assert forecast.make(checkpoint, towards).activation_bytes == 2 * stream


def test_losses_scale_errors_and_are_met_where_they_were_measured() -> None:
    errors = [1.0, 2.0, 4.0, 8.0, 16.0]
    curve = damage.scaled(errors, {1: 6.0, 3: 8.0})
    assert curve[1] == pytest.approx(6.0)
    assert curve[3] == pytest.approx(8.0)
    assert curve[0] == pytest.approx(3.0)  # beyond: the ratio of the nearest
    assert curve[4] == pytest.approx(16.0)
    assert curve[2] == pytest.approx(4.0 * (3.0 * 1.0) ** 0.5)  # between: its geometric mean
