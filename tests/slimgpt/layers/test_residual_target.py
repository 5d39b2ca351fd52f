"""The residual target against its definition, on whole models in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers.block import HalfPass
from slimgpt.layers.layer_pruning import PrunedLayer
from slimgpt.layers.residual_target import DenseStream, correction
from slimgpt.layers.sequence import prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.methods import registry as methods
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import FAMILIES, ROUTED, Tiny, tokens

CPU = torch.device("cpu")
WEIGHT = 0.7
DAMPING = 1e-6
SPEC = PruneSpec(model="local:x", ratio=0.3, damping=DAMPING, group_size=1, residual_target=WEIGHT)
PARALLEL = ("gpt_neox", "falcon")
HALVES = [family for family in FAMILIES if family not in (*ROUTED, *PARALLEL)]


def halves(stack: Stack, index: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The stream behind each half of a layer."""
    block, call = stack.layer(index), stack.call(index, hidden)
    middle = block.attend(hidden, call)
    return middle, block.feed_forward(middle, call)


@torch.no_grad()
@pytest.mark.parametrize("family", HALVES)
def test_a_half_adds_its_outputs_times_scale_and_gain_and_goes_on_from_its_inputs(
    family: str, tmp_path: Path
) -> None:
    model = Tiny(family, layers=1, biases=True)
    stack = Stack(Checkpoint.open(model.save(tmp_path / "model")), CPU)
    [hidden] = stack.embed(tokens(model))
    block, call = stack.layer(0), stack.call(0, hidden)
    for half in (block.attention_pass, block.ffn_pass):
        seen = half(hidden, call)
        rest = block.attend_from if half == block.attention_pass else block.feed_forward_from
        assert torch.equal(rest(seen.inputs, hidden, call), seen.stream)
        added = (seen.scale * seen.gain * seen.outputs).view_as(hidden)
        assert torch.allclose(seen.stream, hidden + added, atol=1e-4, rtol=1e-4)
        hidden = seen.stream


@pytest.mark.parametrize("gain", [[0.0, 0.0, 0.0], [0.0, -2.0, 1e-9], [-1.0, 2.0, -0.5]])
def test_outputs_reach_the_target_but_where_the_norm_silences_them(gain: list[float]) -> None:
    """Gains of a norm behind the half may be zero, all of them too, or negative."""
    draw = torch.Generator().manual_seed(0)
    stream, target, outputs = (torch.randn(2, 4, 3, generator=draw) for _ in range(3))
    gain_D, scale = torch.tensor(gain), torch.full((8, 1), 0.5)
    seen = HalfPass(outputs.flatten(0, 1), outputs.flatten(0, 1), stream, scale, gain_D)
    lacking = correction(seen, target, 1.0)
    reached = stream.flatten(0, 1) + scale * gain_D * lacking
    heard = gain_D.abs() > 1e-6
    assert torch.allclose(reached[:, heard], target.flatten(0, 1)[:, heard], atol=1e-5)
    assert torch.equal(lacking[:, ~heard], torch.zeros(8, int((~heard).sum())))


def pruned(
    folder: Path, target: LayerSize, token_ids: Tensor
) -> tuple[list[PrunedLayer], list[Tensor], list[Tensor]]:
    """All layers, and both streams behind them."""
    stack = Stack(Checkpoint.open(folder), CPU)
    batches = stack.embed(token_ids)
    dense = DenseStream([*batches], WEIGHT)
    layers = [
        prune_layer(stack, index, target, batches, methods.of(SPEC), dense_stream=dense)
        for index in range(stack.architecture.layers)
    ]
    return layers, batches, dense.batches


@torch.no_grad()
def test_kept_columns_are_least_squares_towards_the_target(tmp_path: Path) -> None:
    """Both projections of the second layer, whose two streams differ."""
    model = Tiny("llama", heads=4, kv_heads=2, hidden=16, channels=12, layers=2)
    target = LayerSize(heads=2, kv_heads=1, channels=8)
    token_ids = tokens(model, batch=24, length=32, seed=5)
    folder = model.save(tmp_path / "model")
    layers, _, _ = pruned(folder, target, token_ids)

    checkpoint = Checkpoint.open(folder)
    dense = Stack(checkpoint, CPU)
    cut = Stack(checkpoint, CPU, sizes=[target] * 2, read_layer=lambda index: layers[index].tensors)
    start = torch.cat(dense.embed(token_ids))
    own, other = halves(cut, 0, start)[1], halves(dense, 0, start)[1]
    block, call = dense.layer(1), dense.call(1, own)

    def expected(seen: tuple[Tensor, Tensor, Tensor], wanted: Tensor, columns: list[int]) -> Tensor:
        """Least squares of W x + λ (wanted − stream) on some columns of x."""
        inputs, outputs, stream = (part.double().flatten(0, -2) for part in seen)
        goal = outputs + WEIGHT * (wanted.double().flatten(0, -2) - stream)
        fitted: Tensor = torch.linalg.lstsq(inputs[:, columns], goal).solution.T
        return fitted

    width = 4
    seen = block.attention_pass(own, call)
    wanted, end = halves(dense, 1, other)
    columns = [head * width + c for head in layers[1].heads for c in range(width)]
    fitted = expected((seen.inputs, seen.outputs, seen.stream), wanted, columns)
    assert torch.allclose(
        layers[1].tensors["self_attn.o_proj.weight"].double(), fitted, atol=2e-3, rtol=2e-3
    )

    middle = halves(cut, 1, own)[0]
    seen = block.ffn_pass(middle, call)
    fitted = expected((seen.inputs, seen.outputs, seen.stream), end, [*layers[1].channels])
    assert torch.allclose(
        layers[1].tensors["mlp.down_proj.weight"].double(), fitted, atol=2e-3, rtol=2e-3
    )


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_stream_ends_nearer_to_the_dense_one(family: str, tmp_path: Path) -> None:
    model = Tiny(family, heads=6, kv_heads=3, hidden=24, channels=12, layers=3)
    target = LayerSize(heads=4, kv_heads=4 * model.kv_heads // 6, channels=8)
    token_ids = tokens(model, batch=48, length=32, seed=5)
    folder = model.save(tmp_path / "model")
    _, own, dense = pruned(folder, target, token_ids)
    expected = Stack(Checkpoint.open(folder), CPU).embed(token_ids)
    stack = Stack(Checkpoint.open(folder), CPU)
    plain = stack.embed(token_ids)
    spec = SPEC.model_copy(update={"residual_target": 0.0})
    for index in range(model.layers):
        stack.advance(index, stack.layer(index).forward, expected)
        prune_layer(stack, index, target, plain, methods.of(spec))
    assert all(torch.equal(a, b) for a, b in zip(dense, expected, strict=True))
    distances = [
        float((torch.cat(stream) - torch.cat(dense)).square().sum()) for stream in (own, plain)
    ]
    assert distances[0] < distances[1]
