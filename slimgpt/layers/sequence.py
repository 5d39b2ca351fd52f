"""Layer-wise pruning: each layer runs on activations of the pruned layers before it (section 6).

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. H of o_proj's inputs      attention up to o_proj, on hidden
        2. heads leave
        3. hidden ← pruned attention half; H of down_proj's inputs on it
        4. channels leave
        5. hidden ← pruned FFN half

Two passes over the layer: attention runs in 1 and 3, the FFN in 3 and 5; on a CPU 3 and 5 go on
from the inputs of 1 and 3 where these are few (`KeptInputs`), and run the output projection
alone. Where both halves read the layer's input, one pass gathers both, and a second advances. One
layer, one activation cache (host memory, a batch at a time on the device) and one Hessian are held
at any time. On several devices each runs its share of the batches, Hessians are summed, and one
solves (`machine.ranks`).

With a residual target (`layers.residual_target`) the dense model's stream runs beside, in a second
cache, and 1 and 3 fit to both; every projection is then refitted, cut or not.

Names end in their shape: B batch, S sequence, D d_model, O outputs (d_out), I inputs (d_in).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers.block import Block, Call, HalfPass, Step
from slimgpt.layers.layer_pruning import (
    DenseVariances,
    KeptInputs,
    Kind,
    LayerPruning,
    PrunedLayer,
    few,
    going_on,
)
from slimgpt.layers.residual_target import DenseStream, Target, gather
from slimgpt.layers.stack import Stack
from slimgpt.methods.elimination import columns_of
from slimgpt.methods.problem import Prune
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
    """Prune one layer and advance the activations through what is left of it.

    Args:
        target: what the layer keeps.
        batches: residual stream (B, S, D) each, replaced by the layer's output.
        prune: the method.
        dense: for methods that surveyed the dense model.
        dense_stream: the dense model's residual stream before the layer, for a residual target;
            advanced too.

    Raises:
        NumericalError: names the layer and the projection.
    """
    pruning = LayerPruning(stack, index, target, prune, dense)
    if dense_stream is not None:
        _prune_towards(pruning, batches, dense_stream)
    elif stack.parallel:
        _prune_parallel(pruning, batches)
    else:
        _prune_sequential(pruning, batches)
    return pruning.finished()


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
    """Advance the activations through a layer that was pruned earlier, to the same bits as then.

    Args:
        target: what the layer kept.
        batches: as in `prune_layer`.
        refitted: a half of which nothing left was pruned all the same: with a residual target.
    """
    size, block = stack.architecture.sizes[index], stack.build(index, target, finished.tensors)
    if stack.parallel:
        stack.advance(index, block.forward, batches)
        return
    whole, width = stack.layer(index), stack.architecture.head_dim
    attend: Step = block.attend
    feed_forward: Step = block.feed_forward
    cut = refitted or target.heads < size.heads
    if cut and few(stack, batches, "attention", size.heads * width):
        heads_K = columns_of(torch.tensor(finished.heads), width)
        attend = going_on(whole.attention_inputs, heads_K, block.attend_from)
    cut = not stack.architecture.experts and (refitted or target.channels < size.channels)
    if cut and few(stack, batches, "ffn", size.channels):
        channels_K = torch.tensor(finished.channels)
        feed_forward = going_on(
            lambda h, call: whole.ffn_inputs(h, call)[0], channels_K, block.feed_forward_from
        )
    stack.advance(index, attend, batches)
    stack.advance(index, feed_forward, batches)


def _prune_sequential(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """The FFN is cut on what the attention that is already pruned gives it."""
    kept = _kept(pruning, batches, "attention")
    if pruning.loses_heads:
        block, weights = pruning.block(), [pruning.output_weight]
        watch = _watch_attention(block)
        (inputs,) = _accumulate(pruning, batches, weights, watch, kept=kept)
        pruning.heads(inputs)
    block = pruning.block()
    attend = kept.step(block.attend, block.attend_from, pruning.attention_columns)
    if pruning.loses_channels:
        _prune_ffn(pruning, batches, attend)
    else:
        pruning.advance(attend, batches)
        pruning.advance(block.feed_forward, batches)


def _prune_ffn(pruning: LayerPruning, batches: list[Tensor], attend: Step) -> None:
    """Every FFN of the layer, on the inputs that it has behind the attention half; both advance."""
    downs, experts = pruning.down_weights, pruning.stack.architecture.experts
    kept = None if experts else _kept(pruning, batches, "ffn")
    watch = pruning.block().ffn_inputs
    pruning.channels(_accumulate(pruning, batches, downs, watch, attend, kept))
    _feed_forward(pruning, batches, kept)


def _feed_forward(pruning: LayerPruning, batches: list[Tensor], kept: KeptInputs | None) -> None:
    block = pruning.block()
    step: Step = block.feed_forward
    if kept is not None:
        step = kept.step(step, block.feed_forward_from, pruning.ffn_columns)
    pruning.advance(step, batches)


def _kept(pruning: LayerPruning, batches: list[Tensor], kind: Kind) -> KeptInputs:
    W_OI = pruning.output_weight if kind == "attention" else pruning.down_weights[0]
    return KeptInputs(pruning.stack, batches, kind, W_OI.shape[1])


def _watch_attention(block: Block) -> Callable[[Tensor, Call], list[Tensor]]:
    return lambda hidden_BSD, call: [block.attention_inputs(hidden_BSD, call)]


def _prune_towards(pruning: LayerPruning, batches: list[Tensor], dense_stream: DenseStream) -> None:
    """As the two others, with projections fitted to a residual target.

    Where both halves read the layer's input, `down_proj` alone makes up for the layers before; a
    router's experts, of which each sees few tokens, are fitted to their own outputs.
    """
    stack = pruning.stack
    call = functools.partial(stack.call, pruning.index)

    def target(
        W_OI: Tensor,
        half: Callable[[Tensor, Call], HalfPass],
        advance: Step,
        kept: KeptInputs | None = None,
    ) -> Target:
        found = Target.empty(W_OI)
        watch = half if kept is None else kept.watching(half)
        gather(found, batches, dense_stream, call, watch, advance)
        found.sum_over(stack.ranks)
        return found

    block = pruning.block()
    if stack.parallel:
        weights = [pruning.output_weight]
        (inputs,) = _accumulate(pruning, batches, weights, _watch_attention(block))
        found = target(pruning.down_weights[0], block.ffn_pass, block.forward)
        pruning.heads(inputs)
        pruning.channels([found.inputs], found.correction)
        pruning.advance(pruning.block().forward, batches)
        return
    kept = _kept(pruning, batches, "attention")
    found = target(pruning.output_weight, block.attention_pass, block.attend, kept)
    pruning.heads(found.inputs, found.correction)
    block = pruning.block()
    attend = kept.step(block.attend, block.attend_from, pruning.attention_columns)
    if stack.architecture.experts:
        _prune_ffn(pruning, batches, attend)
        stack.advance(pruning.index, block.feed_forward, dense_stream.batches)
    else:
        pruning.advance(attend, batches)
        kept = _kept(pruning, batches, "ffn")
        found = target(pruning.down_weights[0], block.ffn_pass, block.feed_forward, kept)
        pruning.channels([found.inputs], found.correction)
        _feed_forward(pruning, batches, kept)


def _prune_parallel(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """Both halves are cut on what the layer is given: neither sees the other's output."""
    if pruning.loses_heads or pruning.loses_channels:
        weights = [pruning.output_weight, *pruning.down_weights]
        attention, ffn = _accumulate(pruning, batches, weights, pruning.block().inputs)
        if pruning.loses_heads:
            pruning.heads(attention)
        if pruning.loses_channels:
            pruning.channels([ffn])
    pruning.advance(pruning.block().forward, batches)


def _accumulate(
    pruning: LayerPruning,
    batches: list[Tensor],
    weights: Sequence[Tensor],
    watch: Callable[[Tensor, Call], list[Tensor]],
    step: Step | None = None,
    kept: KeptInputs | None = None,
) -> list[Inputs]:
    """Sums over the inputs that `watch` sees on all batches of all ranks, after a step forward if
    given.

    Args:
        weights: of the projections whose inputs these are, (O, I) each.
        kept: keeps them, where there is one projection.
    """
    device = pruning.stack.device
    sums = [Inputs.empty(W_OI.shape[1], device) for W_OI in weights]
    for position, batch in enumerate(batches):
        hidden_BSD = batch.to(device)
        call = pruning.stack.call(pruning.index, hidden_BSD)
        if step is not None:
            hidden_BSD = step(hidden_BSD, call)
            batches[position] = hidden_BSD.to(batch.device)
        seen = watch(hidden_BSD, call)
        for total, X in zip(sums, seen, strict=True):
            total.add_(X)
        if kept is not None:
            kept.add(seen[0])
    for total in sums:
        total.sum_over(pruning.stack.ranks)
    return sums
