"""Layer-wise pruning: each layer runs on activations of the pruned layers before it (section 6).

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. H of o_proj's inputs      attention up to o_proj, on hidden
        2. heads leave
        3. hidden ← pruned attention half; H of down_proj's inputs on it
        4. channels leave
        5. hidden ← pruned FFN half

Two passes over the layer: attention runs in 1 and 3, the FFN in 3 and 5. Where both halves read the
layer's input, one pass gathers both, and a second advances. One layer, one activation
cache (host memory, a batch at a time on the device) and one Hessian are held at any time. On
several devices each runs its share of the batches, Hessians are summed, and one solves
(`machine.ranks`).

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
from slimgpt.layers.block import Call, HalfPass, Step
from slimgpt.layers.layer_pruning import DenseVariances, LayerPruning, PrunedLayer
from slimgpt.layers.residual_target import DenseStream, Target, gather
from slimgpt.layers.stack import Stack
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


def _prune_sequential(pruning: LayerPruning, batches: list[Tensor]) -> None:
    """The FFN is cut on what the attention that is already pruned gives it."""
    if pruning.loses_heads:
        block = pruning.block()
        (inputs,) = _accumulate(
            pruning,
            batches,
            [pruning.output_weight],
            lambda h, call: [block.attention_inputs(h, call)],
        )
        pruning.heads(inputs)
    block = pruning.block()
    if pruning.loses_channels:
        downs = pruning.down_weights
        pruning.channels(_accumulate(pruning, batches, downs, block.ffn_inputs, block.attend))
    else:
        pruning.advance(block.attend, batches)
    pruning.advance(pruning.block().feed_forward, batches)


def _prune_towards(pruning: LayerPruning, batches: list[Tensor], dense_stream: DenseStream) -> None:
    """As the two others, with projections fitted to a residual target.

    Where both halves read the layer's input, `down_proj` alone makes up for the layers before; a
    router's experts, of which each sees few tokens, are fitted to their own outputs.
    """
    stack = pruning.stack
    call = functools.partial(stack.call, pruning.index)

    def target(W_OI: Tensor, half: Callable[[Tensor, Call], HalfPass], advance: Step) -> Target:
        found = Target.empty(W_OI)
        gather(found, batches, dense_stream, call, half, advance)
        found.sum_over(stack.ranks)
        return found

    block = pruning.block()
    if stack.parallel:
        (inputs,) = _accumulate(
            pruning,
            batches,
            [pruning.output_weight],
            lambda h, call: [block.attention_inputs(h, call)],
        )
        found = target(pruning.down_weights[0], block.ffn_pass, block.forward)
        pruning.heads(inputs)
        pruning.channels([found.inputs], found.correction)
        pruning.advance(pruning.block().forward, batches)
        return
    found = target(pruning.output_weight, block.attention_pass, block.attend)
    pruning.heads(found.inputs, found.correction)
    block = pruning.block()
    if stack.architecture.experts:
        downs = pruning.down_weights
        pruning.channels(_accumulate(pruning, batches, downs, block.ffn_inputs, block.attend))
        stack.advance(pruning.index, block.feed_forward, dense_stream.batches)
    else:
        pruning.advance(block.attend, batches)
        found = target(pruning.down_weights[0], block.ffn_pass, block.feed_forward)
        pruning.channels([found.inputs], found.correction)
    pruning.advance(pruning.block().feed_forward, batches)


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
) -> list[Inputs]:
    """Sums over the inputs that `watch` sees on all batches of all ranks, after a step forward if
    given.

    Args:
        weights: of the projections whose inputs these are, (O, I) each.
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
    for total in sums:
        total.sum_over(pruning.stack.ranks)
    return sums
