"""Streaming against a whole-model reference that is written from the definitions.

The reference keeps the whole model in float64, finds inputs by hooks on full forward passes, picks
what leaves by trying every candidate with a least-squares refit, and masks instead of slicing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import PruneSpec
from slimgpt.layers.sequence import PrunedLayer, prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from tests.slimgpt.tiny import FAMILIES, Tiny, tokens

CPU = torch.device("cpu")
CALIBRATION = {"batch": 24, "length": 32, "seed": 5}
SPEC = PruneSpec(model="local:x", ratio=0.3, head_score="exact", group_size=1)


def streamed(
    folder: Path, target: LayerSize, token_ids: Tensor, spec: PruneSpec
) -> tuple[list[PrunedLayer], Stack]:
    """All layers cut to `target`, and the pruned model as a stack."""
    checkpoint = Checkpoint.open(folder)
    stack = Stack(checkpoint, CPU)
    batches = stack.embed(token_ids)
    method = methods.of(spec)
    layers = [
        prune_layer(stack, index, target, batches, method)
        for index in range(checkpoint.architecture.layers)
    ]
    sizes = [target] * len(layers)
    return layers, Stack(checkpoint, CPU, sizes=sizes, read_layer=lambda i: layers[i].tensors)


def inputs_of(model: Any, projection: nn.Linear, token_ids: Tensor) -> Tensor:
    """Inputs of a projection over all tokens in a full forward pass, (n_tokens, d)."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(token_ids)
    handle.remove()
    return seen[0].flatten(0, -2)


def prune_by_refits(
    projection: nn.Linear, X: Tensor, units: list[list[int]], allowed: list[list[int]]
) -> list[int]:
    """Greedy by brute force: the unit whose loss, after a refit, costs least; masked in place."""
    H = X.T @ X
    H += 0.01 * H.diagonal().mean() * torch.eye(len(H), dtype=H.dtype)
    root = torch.linalg.cholesky(H).T
    W = projection.weight.data.clone()
    gone: list[int] = []
    for candidates in allowed:
        trials = {}
        for unit in set(candidates) - set(gone):
            out = {column for u in [*gone, unit] for column in units[u]}
            kept = [column for column in range(W.shape[1]) if column not in out]
            fitted = torch.zeros_like(W)
            fitted[:, kept] = torch.linalg.lstsq(root[:, kept], root @ W.T).solution.T
            trials[unit] = (float(((fitted - W) @ root.T).square().sum()), fitted)
        best = min(trials, key=lambda unit: trials[unit][0])
        gone.append(best)
        projection.weight.data = trials[best][1]
    return [unit for unit in range(len(units)) if unit not in gone]


@torch.no_grad()
def whole_model_reference(
    model: Tiny, target: LayerSize, token_ids: Tensor
) -> tuple[Any, list[tuple[list[int], list[int]]]]:
    whole = model.build().double()
    kept = []
    per_group = model.heads // model.kv_heads
    for layer in whole.model.layers:
        output, down = layer.self_attn.o_proj, layer.mlp.down_proj
        by_group = target.kv_heads < model.kv_heads
        count = model.kv_heads if by_group else model.heads
        width = output.in_features // count
        units = [list(range(u * width, (u + 1) * width)) for u in range(count)]
        if by_group:
            allowed = [list(range(count))] * (model.kv_heads - target.kv_heads)
            groups = prune_by_refits(output, inputs_of(whole, output, token_ids), units, allowed)
            heads = [g * per_group + h for g in groups for h in range(per_group)]
        else:
            heads = list(range(model.heads))
        singles = [[c] for c in range(model.channels)]
        allowed = [list(range(model.channels))] * (model.channels - target.channels)
        channels = prune_by_refits(down, inputs_of(whole, down, token_ids), singles, allowed)
        kept.append((heads, channels))
    return whole, kept


@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_equals_pruning_the_whole_model(family: str, tmp_path: Path) -> None:
    model = Tiny(family, heads=6, kv_heads=3, hidden=24, channels=20, layers=3, biases=True)
    target = LayerSize(heads=4, kv_heads=2, channels=14)
    token_ids = tokens(model, **CALIBRATION)
    layers, pruned = streamed(model.save(tmp_path / "model"), target, token_ids, SPEC)
    whole, kept = whole_model_reference(model, target, token_ids)

    assert [(layer.heads, layer.channels) for layer in layers] == kept
    with torch.no_grad():
        expected = whole(token_ids[:4]).logits
    assert torch.allclose(pruned.logits(token_ids[:4]).double(), expected, atol=2e-4, rtol=1e-4)


def test_the_layers_error_is_measured_on_the_calibration_tokens(tmp_path: Path) -> None:
    """‖(W' − W) X‖² / ‖W X‖² with X the down_proj inputs of the first layer, attention intact."""
    model = Tiny("llama", layers=1)
    target = LayerSize(model.heads, model.kv_heads, 30)
    token_ids = tokens(model, **CALIBRATION)
    layers, _ = streamed(model.save(tmp_path / "model"), target, token_ids, SPEC)
    whole = model.build().double()
    down = whole.model.layers[0].mlp.down_proj
    with torch.no_grad():
        X = inputs_of(whole, down, token_ids)
        dense = X @ down.weight.T
        sliced = X[:, layers[0].channels] @ layers[0].tensors["mlp.down_proj.weight"].double().T
    expected = float((sliced - dense).square().sum() / dense.square().sum())
    assert layers[0].ffn_error == pytest.approx(expected, rel=1e-4)
    assert layers[0].attention_error == 0.0


@pytest.mark.parametrize("method", ["slimgpt", "magnitude", "wanda-sp"])
def test_nothing_to_remove_returns_the_same_bits(method: str, tmp_path: Path) -> None:
    model = Tiny("qwen2", tied=True)
    folder = model.save(tmp_path / "model")
    spec = PruneSpec.model_validate({"model": "local:x", "ratio": 0, "method": method})
    target = LayerSize(model.heads, model.kv_heads, model.channels)
    layers, _ = streamed(folder, target, tokens(model, **CALIBRATION), spec)
    checkpoint = Checkpoint.open(folder)
    for index, layer in enumerate(layers):
        dense = checkpoint.layer(index)
        assert layer.tensors.keys() == dense.keys()
        assert all(torch.equal(layer.tensors[key], dense[key]) for key in dense)


def test_query_heads_leave_every_group_alike(tmp_path: Path) -> None:
    model = Tiny("llama", heads=8, kv_heads=2, hidden=32)
    target = LayerSize(heads=4, kv_heads=2, channels=model.channels)
    layers, pruned = streamed(
        model.save(tmp_path / "model"), target, tokens(model, **CALIBRATION), SPEC
    )
    for layer in layers:
        assert layer.kv_heads == [0, 1]
        assert [head // 4 for head in layer.heads] == [0, 0, 1, 1]
        assert layer.tensors["self_attn.q_proj.weight"].shape == (16, 32)
        assert layer.tensors["self_attn.k_proj.weight"].shape == (8, 32)
    assert torch.isfinite(pruned.logits(tokens(model))).all()


def test_the_order_of_calibration_sequences_does_not_matter(tmp_path: Path) -> None:
    model = Tiny("llama")
    folder = model.save(tmp_path / "model")
    target = LayerSize(2, 1, 32)
    token_ids = tokens(model, batch=300, length=32, seed=5)
    shuffled = token_ids[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    one, _ = streamed(folder, target, token_ids, SPEC)
    other, _ = streamed(folder, target, shuffled, SPEC)
    for first, second in zip(one, other, strict=True):
        assert (first.heads, first.channels) == (second.heads, second.channels)
        for name, tensor in first.tensors.items():
            assert torch.allclose(tensor, second.tensors[name], atol=1e-3)
