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

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.checkpoints.families.table import FAMILIES as FAMILY_ROWS
from slimgpt.layers import inputs_cache, sequence
from slimgpt.layers.layer_pruning import PrunedLayer
from slimgpt.layers.sequence import prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.pruned import silence
from tests.slimgpt.tiny import FALCON_7B, FAMILIES, ROUTED, Tiny, tokens

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


def inputs_of(model: Any, projection: nn.Module, token_ids: Tensor) -> Tensor:
    """Inputs of a projection over all tokens in a full forward pass, (n_tokens, d)."""
    seen: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(token_ids)
    handle.remove()
    return seen[0].flatten(0, -2)


def prune_by_refits(
    weight: Tensor, X: Tensor, units: list[list[int]], allowed: list[list[int]]
) -> list[int]:
    """Greedy by brute force: the unit whose loss, after a refit, costs least; masked in place."""
    H = X.T @ X
    H += 0.01 * H.diagonal().mean() * torch.eye(len(H), dtype=H.dtype)
    root = torch.linalg.cholesky(H).T
    W = weight.clone()
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
        weight.copy_(trials[best][1])
    return [unit for unit in range(len(units)) if unit not in gone]


def expert_inputs(model: Any, mlp: Any, token_ids: Tensor) -> list[Tensor]:
    """What each expert's output is made of: weight times gated activation, of the top two."""
    hidden = inputs_of(model, mlp, token_ids)
    weights, chosen = (hidden @ mlp.gate.weight.T).softmax(-1).topk(2)
    weights /= weights.sum(-1, keepdim=True)
    inputs = []
    for number, fused in enumerate(mlp.experts.gate_up_proj):
        gate, up = (hidden @ fused.T).chunk(2, dim=-1)
        weight = (weights * (chosen == number)).sum(-1, keepdim=True)
        inputs.append(nn.functional.silu(gate) * up * weight)
    return inputs


def matrix(projection: Any, model: Tiny) -> Tensor:
    """The weight (d_out, d_in) of a projection, to be written to."""
    weight: Tensor = projection.weight.data
    return weight.T if model.family == "gpt2" else weight


@torch.no_grad()
def whole_model_reference(
    model: Tiny, target: LayerSize, token_ids: Tensor
) -> tuple[Any, list[tuple[list[int], Any]]]:
    whole = model.build().double()
    if model.family in ROUTED:
        whole.set_experts_implementation("eager")  # the other knows no float64
    row = FAMILY_ROWS[model.family]
    kept: list[tuple[list[int], Any]] = []
    per_group = model.heads // model.kv_heads
    for layer in whole.get_submodule(row.layers):
        output = layer.get_submodule(row.output)
        width = model.hidden // model.kv_heads
        units = [list(range(u * width, (u + 1) * width)) for u in range(model.kv_heads)]
        allowed = [list(range(model.kv_heads))] * (model.kv_heads - target.kv_heads)
        X = inputs_of(whole, output, token_ids)
        groups = prune_by_refits(matrix(output, model), X, units, allowed)
        heads = [g * per_group + h for g in groups for h in range(per_group)]
        spans = ((row.query, heads), (row.key, groups))
        for name, (projection, staying) in zip(row.span_norms, spans, strict=False):
            silence(layer, projection, name, [unit * 4 + c for unit in staying for c in range(4)])
        singles = [[c] for c in range(model.channels)]
        allowed = [list(range(model.channels))] * (model.channels - target.channels)
        if model.family in ROUTED:
            experts = layer.mlp.experts
            seen = expert_inputs(whole, layer.mlp, token_ids)
            kept.append(
                (
                    heads,
                    [
                        prune_by_refits(d, X, singles, allowed)
                        for d, X in zip(experts.down_proj, seen, strict=True)
                    ],
                )
            )
            continue
        down = layer.get_submodule(row.down)
        X = inputs_of(whole, down, token_ids)
        channels = prune_by_refits(matrix(down, model), X, singles, allowed)
        kept.append((heads, channels))
    return whole, kept


@pytest.mark.parametrize("cached", [0, inputs_cache.CACHED_INPUTS])
@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_equals_pruning_the_whole_model(
    family: str, cached: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs_cache, "CACHED_INPUTS", cached)
    model = Tiny(family, heads=6, kv_heads=3, hidden=24, channels=12, layers=2, biases=True)
    target = LayerSize(heads=4, kv_heads=4 * model.kv_heads // 6, channels=8)
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


@pytest.mark.parametrize(
    ("method", "family"),
    [("magnitude", "qwen2"), ("wanda-sp", "qwen2"), *(("slimgpt", f) for f in FAMILIES)],
)
def test_nothing_to_remove_returns_the_same_bits(method: str, family: str, tmp_path: Path) -> None:
    model = Tiny(family, tied=True)
    folder = model.save(tmp_path / "model")
    spec = PruneSpec.model_validate({"model": "local:x", "ratio": 0, "method": method})
    target = LayerSize(model.heads, model.kv_heads, model.channels)
    layers, _ = streamed(folder, target, tokens(model, **CALIBRATION), spec)
    checkpoint = Checkpoint.open(folder)
    for index, layer in enumerate(layers):
        dense = checkpoint.layer(index)
        assert layer.tensors.keys() == dense.keys()
        assert all(torch.equal(layer.tensors[key], dense[key]) for key in dense)


@pytest.mark.parametrize("family", ["llama", "phi3", "falcon", "stablelm"])
def test_query_heads_leave_every_group_alike(family: str, tmp_path: Path) -> None:
    model = Tiny(family, heads=8, kv_heads=2, hidden=32)
    target = LayerSize(heads=4, kv_heads=2, channels=model.channels)
    layers, pruned = streamed(
        model.save(tmp_path / "model"), target, tokens(model, **CALIBRATION), SPEC
    )
    row = FAMILY_ROWS[family]
    for layer in layers:
        assert layer.kv_heads == [0, 1]
        assert [head // 4 for head in layer.heads] == [0, 0, 1, 1]
        queries = layer.tensors[f"{row.query}.weight"]
        assert queries.shape == ((16 + 2 * 8) if row.fused else 16, 32)
        dense = Checkpoint.open(tmp_path / "model").layer(0)[f"{row.query}.weight"]
        assert {tuple(line.tolist()) for line in layers[0].tensors[f"{row.query}.weight"]} <= {
            tuple(line.tolist()) for line in dense
        }
    assert torch.isfinite(pruned.logits(tokens(model))).all()


def test_query_heads_leave_a_model_with_one_kv_head(tmp_path: Path) -> None:
    """As Falcon 7B; the same heads masked in the whole model compute the same."""
    model = Tiny("falcon", heads=8, kv_heads=1, own=FALCON_7B, layers=1)
    target = LayerSize(heads=5, kv_heads=1, channels=model.channels)
    token_ids = tokens(model, **CALIBRATION)
    layers, pruned = streamed(model.save(tmp_path / "model"), target, token_ids, SPEC)
    whole = model.build()
    dense = whole.transformer.h[0].self_attention.dense.weight.data
    kept = [4 * head + c for head in layers[0].heads for c in range(4)]
    dense.zero_()
    dense[:, kept] = layers[0].tensors["self_attention.dense.weight"]
    with torch.no_grad():
        expected = whole(token_ids[:4]).logits
    assert torch.allclose(pruned.logits(token_ids[:4]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cached", [0, inputs_cache.CACHED_INPUTS])
@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_after_finished_layers_gives_the_same_bits(
    family: str, cached: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs_cache, "CACHED_INPUTS", cached)
    model = Tiny(family, heads=4, kv_heads=2)
    target = LayerSize(2, model.kv_heads // 2, 32)
    token_ids = tokens(model, **CALIBRATION)
    layers, _ = streamed(model.save(tmp_path / "model"), target, token_ids, SPEC)
    again = Stack(Checkpoint.open(tmp_path / "model"), CPU)
    batches = again.embed(token_ids)
    sequence.advance_finished(again, 0, layers[0], target, batches, refitted=False)
    second = prune_layer(again, 1, target, batches, methods.of(SPEC))
    assert second.channels == layers[1].channels
    assert all(torch.equal(second.tensors[n], t) for n, t in layers[1].tensors.items())


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


def test_an_expert_that_no_token_reaches_keeps_what_weighs_most(tmp_path: Path) -> None:
    model = Tiny("mixtral", layers=1, channels=16, own={"num_experts_per_tok": 1})
    folder = model.save(tmp_path / "model")
    checkpoint = Checkpoint.open(folder)
    row = checkpoint.architecture.family

    def read(index: int) -> dict[str, Tensor]:
        layer = checkpoint.layer(index)
        hidden = layer[f"{row.router}.weight"]
        hidden[1], hidden[2:] = -hidden[0], 0  # of these logits the first or the second is largest
        return layer

    stack = Stack(checkpoint, CPU, read_layer=read)
    ids = tokens(model, **CALIBRATION)
    target = LayerSize(model.heads, model.kv_heads, 8)
    layer = prune_layer(stack, 0, target, stack.embed(ids), methods.of(SPEC))
    assert layer.unseen_experts == (2, 3)
    assert all(torch.isfinite(tensor).all() for tensor in layer.tensors.values())
    for number in layer.unseen_experts:
        dense = read(0)[f"{row.expert(number).down}.weight"]
        largest = sorted(dense.norm(dim=0).argsort(descending=True)[:8].tolist())
        assert layer.channels[number] == largest
        cut = layer.tensors[f"{row.expert(number).down}.weight"]
        assert torch.allclose(cut, dense[:, largest], atol=1e-6)
