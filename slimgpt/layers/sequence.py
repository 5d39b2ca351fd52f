"""Pruning layer by layer: each layer sees what the pruned ones before it produce (section 6).

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. H of o_proj's inputs      attention up to o_proj, on hidden
        2. heads leave
        3. hidden ← pruned attention half; H of down_proj's inputs on it
        4. channels leave
        5. hidden ← pruned FFN half

Two passes over the layer: attention runs in 1 and 3, the FFN in 3 and 5. One layer, one activation
cache (host memory, a batch at a time on the device) and one Hessian are held at any time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers.block import Block
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import Tensors, cut_channels, cut_heads
from slimgpt.methods import obs
from slimgpt.methods.solution import Problem, Prune, Solution, Units
from slimgpt.methods.statistics import Inputs


@dataclass(frozen=True)
class DenseVariances:
    """Variance of the inputs of one layer's `o_proj` and `down_proj` in the dense model."""

    attention: Tensor
    ffn: Tensor


@dataclass(frozen=True)
class PrunedLayer:
    """A finished layer.

    Attributes:
        tensors: by their names within the layer, checkpoint dtype.
        heads, kv_heads, channels: indices that stayed, ascending.
        attention_error, ffn_error: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), undamped.
        attention_damping, ffn_damping: λ that was used, 0 where nothing was factorised.
    """

    tensors: Tensors
    heads: list[int]
    kv_heads: list[int]
    channels: list[int]
    attention_error: float = 0.0
    ffn_error: float = 0.0
    attention_damping: float = 0.0
    ffn_damping: float = 0.0


@torch.no_grad()
def prune_layer(
    stack: Stack,
    index: int,
    target: LayerSize,
    batches: list[Tensor],
    prune: Prune,
    dense: DenseVariances | None = None,
) -> PrunedLayer:
    """Prune one layer and advance the activations through what is left of it.

    Args:
        target: what the layer keeps.
        batches: residual stream (batch, seq, d_model) each, replaced by the layer's output.
        prune: the method.
        dense: for methods that surveyed the dense model.

    Raises:
        NumericalError: names the layer and the projection.
    """
    family, size = stack.architecture.family, stack.architecture.sizes[index]
    tensors = stack.read_layer(index)
    heads, kv_heads = list(range(size.heads)), list(range(size.kv_heads))
    channels = list(range(size.channels))
    attention = ffn = _Outcome()

    if target.heads < size.heads:
        inputs = _attention_inputs(stack, index, stack.build(index, size, tensors), batches)
        weight = tensors[f"{family.output}.weight"]
        variance = dense.attention if dense else None
        units = _head_units(size, target, weight.shape[1])
        problem = Problem(weight, inputs, units, "attention", variance)
        solution, attention = _solved(problem, prune, f"layer {index} {family.output}")
        tensors, heads, kv_heads = cut_heads(tensors, family, size, solution)

    size = LayerSize(target.heads, target.kv_heads, size.channels)
    shrinks = target.channels < size.channels
    gathered = _attend(stack, index, stack.build(index, size, tensors), batches, gather=shrinks)
    if gathered is not None:
        weight = tensors[f"{family.down}.weight"]
        variance = dense.ffn if dense else None
        units = Units(width=1, groups=1, quota=size.channels - target.channels)
        problem = Problem(weight, gathered, units, "ffn", variance)
        solution, ffn = _solved(problem, prune, f"layer {index} {family.down}")
        tensors, channels = cut_channels(tensors, family, solution)
    _feed_forward(stack, stack.build(index, target, tensors), batches)

    return PrunedLayer(
        tensors,
        heads,
        kv_heads,
        channels,
        attention.error,
        ffn.error,
        attention.damping,
        ffn.damping,
    )


@dataclass(frozen=True)
class _Outcome:
    error: float = 0.0
    damping: float = 0.0


def _head_units(size: LayerSize, target: LayerSize, columns: int) -> Units:
    """Whole KV groups where KV heads leave, else the same number of query heads in every group."""
    if target.kv_heads < size.kv_heads:
        return Units(columns // size.kv_heads, groups=1, quota=size.kv_heads - target.kv_heads)
    quota = (size.heads - target.heads) // size.kv_heads
    return Units(columns // size.heads, groups=size.kv_heads, quota=quota)


def _solved(problem: Problem, prune: Prune, where: str) -> tuple[Solution, _Outcome]:
    try:
        problem.inputs.check_finite()
        solution = prune(problem)
    except NumericalError as error:
        raise NumericalError(f"{where}: {error.message}", hint=error.hint) from error
    H = problem.inputs.gram
    W = problem.weight.to(H.dtype)
    difference = W.clone()
    difference[:, solution.kept] -= solution.weight.to(H.dtype)
    whole = float(obs.quadratic(W, H))
    error_share = float(obs.quadratic(difference, H)) / whole if whole else 0.0
    return solution, _Outcome(error_share, solution.damping)


def _attention_inputs(stack: Stack, index: int, block: Block, batches: list[Tensor]) -> Inputs:
    inputs: Inputs | None = None
    for batch in batches:
        hidden = batch.to(stack.device)
        X = block.attention_inputs(hidden, stack.call(index, hidden))
        inputs = inputs or Inputs.empty(X.shape[-1], stack.device)
        inputs.add_(X)
    assert inputs is not None
    return inputs


def _attend(
    stack: Stack, index: int, block: Block, batches: list[Tensor], *, gather: bool
) -> Inputs | None:
    """Advance through the attention half; gather the inputs of `down_proj` on the way if asked."""
    inputs: Inputs | None = None
    for position, batch in enumerate(batches):
        hidden = batch.to(stack.device)
        hidden = block.attend(hidden, stack.call(index, hidden))
        if gather:
            X = block.ffn_inputs(hidden)
            inputs = inputs or Inputs.empty(X.shape[-1], stack.device)
            inputs.add_(X)
        batches[position] = hidden.to(batch.device)
    return inputs


def _feed_forward(stack: Stack, block: Block, batches: list[Tensor]) -> None:
    for position, batch in enumerate(batches):
        batches[position] = block.feed_forward(batch.to(stack.device)).to(batch.device)
