"""Layer-wise pruning: calibration runs through the layers that are already pruned.

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. accumulate the Hessian of o_proj's inputs: attention up to o_proj, on hidden
        2. prune heads
        3. hidden ← pruned attention half; accumulate the Hessian of down_proj's inputs
        4. prune channels
        5. hidden ← pruned FFN half

The attention half runs in steps 1 and 3, the FFN half in 3 and 5. In parallel layers, whose halves
both read the layer's input, one pass accumulates both Hessians and a second pass advances hidden.
One layer is in memory at a time, with the Hessians of one step and one activation cache, which is
on the host but for one batch. On several devices each rank runs its share of the batches, Hessians
are summed, and one rank solves (`machine.ranks`).

With a residual target (`layers.residual_target`) the dense model's hidden states advance in a
second cache, steps 1 and 3 also accumulate the correction, and projections that are not pruned are
refitted too.

Names end in their shape: B batch, S sequence, D d_model, O outputs (d_out), I inputs (d_in).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers.block import Block, Call, HalfPass, Step
from slimgpt.layers.layer_pruning import DenseVariances, LayerPruning, PrunedLayer
from slimgpt.layers.residual_target import DenseStream, Target, gather
from slimgpt.layers.stack import Stack
from slimgpt.methods.problem import Kind, Prune
from slimgpt.methods.statistics import Inputs


@torch.no_grad()
def prune_layer(
    stack: Stack,
    index: int,
    target: LayerSize,
    batches: list[Tensor],
    prune: Prune,
    dense: DenseVariances | None = None,
    dense_stream: DenseStream | None = None,
) -> PrunedLayer:
    """Prune one layer and advance the residual stream through the pruned layer.

    Args:
        stack: the dense model.
        target: size of the layer after pruning.
        batches: residual stream before the layer, (B, S, D) each, checkpoint dtype, on the host;
            replaced by that after the layer.
        prune: the method.
        dense: variances of the layer's inputs in the dense model, for methods with a dense pass.
        dense_stream: the dense model's residual stream before the layer, for a residual target;
            advanced through the dense layer.

    Raises:
        NumericalError: the layer cannot be solved; names the layer and the projection.
    """
    pruning = LayerPruning(stack, index, target, prune, dense)
    if dense_stream is not None:
        _prune_to_target(pruning, batches, dense_stream)
    elif stack.parallel:
        _prune_parallel(pruning, batches)
    else:
        _prune_sequential(pruning, batches)
    return pruning.result()


def _prune_sequential(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """Prune attention, then the FFN on the outputs of the pruned attention."""
    if pruning.prunes_heads:
        pruning.prune_heads(_attention_inputs(pruning, batches))
    block = pruning.block()
    if pruning.prunes_channels:
        pruning.prune_channels(_ffn_inputs(pruning, batches, block))
    else:
        pruning.advance(block.attend, batches)
    pruning.advance(pruning.block().feed_forward, batches)


def _prune_to_target(
    pruning: LayerPruning, batches: list[Tensor], dense_stream: DenseStream
) -> None:
    """Prune both halves with projections fitted to a residual target.

    In a parallel layer only `down_proj` is fitted to the target, which both halves would otherwise
    correct for. Experts, each of which sees few tokens, are fitted to their own outputs.
    """
    stack = pruning.stack
    call = functools.partial(stack.call, pruning.index)

    def target(kind: Kind, half: Callable[[Tensor, Call], HalfPass], advance: Step) -> Target:
        found = Target.empty(pruning.weights(kind)[0])
        gather(found, batches, dense_stream, call, half, advance)
        found.sum_over(stack.ranks)
        return found

    block = pruning.block()
    if stack.parallel:
        inputs = _attention_inputs(pruning, batches)
        found = target("ffn", block.ffn_pass, block.forward)
        pruning.prune_heads(inputs)
        pruning.prune_channels([found.inputs], found.correction)
        pruning.advance(pruning.block().forward, batches)
        return
    found = target("attention", block.attention_pass, block.attend)
    pruning.prune_heads(found.inputs, found.correction)
    block = pruning.block()
    if stack.architecture.experts:
        pruning.prune_channels(_ffn_inputs(pruning, batches, block))
        pruning.advance(block.feed_forward, dense_stream.batches)
    else:
        pruning.advance(block.attend, batches)
        found = target("ffn", block.ffn_pass, block.feed_forward)
        pruning.prune_channels([found.inputs], found.correction)
    pruning.advance(pruning.block().feed_forward, batches)


def _prune_parallel(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """Prune both halves on the layer's input."""
    if pruning.prunes_heads or pruning.prunes_channels:
        weights = [*pruning.weights("attention"), *pruning.weights("ffn")]
        attention, ffn = _accumulate(pruning, batches, weights, pruning.block().inputs)
        if pruning.prunes_heads:
            pruning.prune_heads(attention)
        if pruning.prunes_channels:
            pruning.prune_channels([ffn])
    pruning.advance(pruning.block().forward, batches)


def _attention_inputs(pruning: LayerPruning, batches: list[Tensor]) -> Inputs:
    """Sums over the inputs of `o_proj`."""
    weights = pruning.weights("attention")
    (inputs,) = _accumulate(pruning, batches, weights, pruning.block().attention_inputs)
    return inputs


def _ffn_inputs(pruning: LayerPruning, batches: list[Tensor], block: Block) -> list[Inputs]:
    """Sums over the inputs of every `down_proj`; advances the batches through the attention."""
    weights = pruning.weights("ffn")
    return _accumulate(pruning, batches, weights, block.ffn_inputs, block.attend)


def _accumulate(
    pruning: LayerPruning,
    batches: list[Tensor],
    weights: Sequence[Tensor],
    inputs_of: Callable[[Tensor, Call], list[Tensor]],
    step: Step | None = None,
) -> list[Inputs]:
    """Sums over the inputs of some projections, on the batches of all ranks.

    Args:
        weights: weights of the projections, (O, I) each.
        inputs_of: a method of `Block`: inputs of these projections, for a residual stream.
        step: a half of the layer through which the batches are advanced first.
    """
    device = pruning.stack.device
    sums = [Inputs.empty(W_OI.shape[1], device) for W_OI in weights]
    for position, batch in enumerate(batches):
        hidden_BSD = batch.to(device)
        call = pruning.stack.call(pruning.index, hidden_BSD)
        if step is not None:
            hidden_BSD = step(hidden_BSD, call)
            batches[position] = hidden_BSD.to(batch.device)
        for total, X in zip(sums, inputs_of(hidden_BSD, call), strict=True):
            total.add_(X)
    for total in sums:
        total.sum_over(pruning.stack.ranks)
    return sums
