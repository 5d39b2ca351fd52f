"""Layer-wise pruning: calibration runs through the layers that are already pruned.

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. accumulate the Hessian of o_proj's inputs: attention up to o_proj, on hidden
        2. prune heads
        3. hidden ← pruned attention half; accumulate the Hessian of down_proj's inputs
        4. prune channels
        5. hidden ← pruned FFN half

The attention half runs in steps 1 and 3, the FFN half in 3 and 5; on a CPU, steps 3 and 5 only run
the pruned projection on the inputs of steps 1 and 3, if these are few (`layers.inputs_cache`). In
parallel layers, whose halves both read the layer's input, one pass accumulates both Hessians and a
second pass advances hidden. One layer is in memory at a time, with the Hessians of one step and one
activation cache, which is on the host but for two batches, or on the device if it has room
(`machine.transfers`). On several devices each rank runs its
share of the batches, Hessians are summed, and one rank solves (`machine.ranks`).

With a residual target (`layers.residual_target`) the dense model's hidden states advance in a
second cache, steps 1 and 3 also accumulate the correction, and projections that are not pruned are
refitted too.

Names end in their shape: B batch, S sequence, D d_model, O outputs (d_out), I inputs (d_in), K
kept columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers.block import Call, HalfPass, Step
from slimgpt.layers.inputs_cache import InputsCache, can_keep, from_inputs
from slimgpt.layers.layer_pruning import DenseVariances, LayerPruning, PrunedLayer
from slimgpt.layers.residual_target import DenseStream, Target, gather
from slimgpt.layers.stack import Stack
from slimgpt.methods.elimination import columns_of
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
        batches: residual stream before the layer, (B, S, D) each, checkpoint dtype, as of
            `Stack.embed`; replaced by that after the layer.
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


@torch.no_grad()
def advance_finished(
    stack: Stack,
    index: int,
    finished: PrunedLayer,
    target: LayerSize,
    batches: list[Tensor],
    *,
    refitted: bool,
) -> None:
    """Advance the residual stream through a layer that was pruned before, to the same bits as then.

    Args:
        stack: the dense model.
        target: size of the pruned layer.
        batches: as in `prune_layer`.
        refitted: whether projections were refitted that were not pruned: with a residual target.
    """
    size, block = stack.architecture.sizes[index], stack.build(index, target, finished.tensors)
    if stack.parallel:
        stack.advance(index, block.forward, batches)
        return
    whole, width = stack.layer(index), stack.architecture.head_dim
    attend: Step = block.attend
    feed_forward: Step = block.feed_forward
    solved = refitted or target.heads < size.heads
    if solved and can_keep(stack, batches, "attention", size.heads * width):
        heads_K = columns_of(torch.tensor(finished.heads), width)
        attend = from_inputs(_only(whole.attention_inputs), heads_K, block.attend_from)
    solved = not stack.architecture.experts and (refitted or target.channels < size.channels)
    if solved and can_keep(stack, batches, "ffn", size.channels):
        channels_K = torch.tensor(finished.channels)
        feed_forward = from_inputs(_only(whole.ffn_inputs), channels_K, block.feed_forward_from)
    stack.advance(index, attend, batches)
    stack.advance(index, feed_forward, batches)


def _only(inputs_of: Callable[[Tensor, Call], list[Tensor]]) -> Step:
    """The inputs of the one projection that there is."""
    return lambda hidden_BSD, call: inputs_of(hidden_BSD, call)[0]


def _prune_sequential(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """Prune attention, then the FFN on the outputs of the pruned attention."""
    cache = _cache(pruning, batches, "attention")
    if pruning.prunes_heads:
        pruning.prune_heads(_attention_inputs(pruning, batches, cache))
    attend = _attend(pruning, cache)
    if pruning.prunes_channels:
        _prune_ffn(pruning, batches, attend)
    else:
        pruning.advance(attend, batches)
        pruning.advance(pruning.block().feed_forward, batches)


def _prune_ffn(pruning: LayerPruning, batches: list[Tensor], attend: Step) -> None:
    """Prune every FFN of the layer on its inputs after `attend`; advances through both halves."""
    experts = pruning.stack.architecture.experts
    cache = None if experts else _cache(pruning, batches, "ffn")
    weights, inputs_of = pruning.weights("ffn"), pruning.block().ffn_inputs
    pruning.prune_channels(_accumulate(pruning, batches, weights, inputs_of, attend, cache))
    pruning.advance(_feed_forward(pruning, cache), batches)


def _cache(pruning: LayerPruning, batches: list[Tensor], kind: Kind) -> InputsCache:
    return InputsCache(pruning.stack, batches, kind, pruning.weights(kind)[0].shape[1])


def _attend(pruning: LayerPruning, cache: InputsCache) -> Step:
    """The attention half as it is now."""
    block = pruning.block()
    return cache.step(block.attend, block.attend_from, pruning.kept_columns.get("attention"))


def _feed_forward(pruning: LayerPruning, cache: InputsCache | None) -> Step:
    """The FFN half as it is now."""
    block = pruning.block()
    if cache is None:
        return block.feed_forward
    return cache.step(block.feed_forward, block.feed_forward_from, pruning.kept_columns.get("ffn"))


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
        gather(found, batches, dense_stream, call, half, advance, stack.transfers)
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
    cache = _cache(pruning, batches, "attention")
    found = target("attention", cache.watching(block.attention_pass), block.attend)
    pruning.prune_heads(found.inputs, found.correction)
    attend, block = _attend(pruning, cache), pruning.block()
    if stack.architecture.experts:
        _prune_ffn(pruning, batches, attend)
        pruning.advance(block.feed_forward, dense_stream.batches)
        return
    pruning.advance(attend, batches)
    cache = _cache(pruning, batches, "ffn")
    found = target("ffn", cache.watching(block.ffn_pass), block.feed_forward)
    pruning.prune_channels([found.inputs], found.correction)
    pruning.advance(_feed_forward(pruning, cache), batches)


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


def _attention_inputs(
    pruning: LayerPruning, batches: list[Tensor], cache: InputsCache | None = None
) -> Inputs:
    """Sums over the inputs of `o_proj`."""
    weights, inputs_of = pruning.weights("attention"), pruning.block().attention_inputs
    (inputs,) = _accumulate(pruning, batches, weights, inputs_of, cache=cache)
    return inputs


def _accumulate(
    pruning: LayerPruning,
    batches: list[Tensor],
    weights: Sequence[Tensor],
    inputs_of: Callable[[Tensor, Call], list[Tensor]],
    step: Step | None = None,
    cache: InputsCache | None = None,
) -> list[Inputs]:
    """Sums over the inputs of some projections, on the batches of all ranks.

    Args:
        weights: weights of the projections, (O, I) each.
        inputs_of: a method of `Block`: inputs of these projections, for a residual stream.
        step: a half of the layer through which the batches are advanced first.
        cache: keeps the inputs, if there is one projection.
    """
    stack, transfers = pruning.stack, pruning.stack.transfers
    sums = [Inputs.empty(W_OI.shape[1], stack.device) for W_OI in weights]
    for position, before_BSD in transfers.each(batches):
        hidden_BSD, call = before_BSD, stack.call(pruning.index, before_BSD)
        if step is not None:
            hidden_BSD = step(before_BSD, call)
            batches[position] = transfers.back(hidden_BSD, batches[position])
        inputs = inputs_of(hidden_BSD, call)
        for total, X in zip(sums, inputs, strict=True):
            total.add_(X)
        if cache is not None:
            cache.add(inputs[0])
    for total in sums:
        total.sum_over(stack.ranks)
    return sums
