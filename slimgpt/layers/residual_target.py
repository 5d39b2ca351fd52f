"""Residual target: fit projections so that they also correct errors of the layers before them.

The kept columns of an output projection W (`o_proj` or `down_proj`) are fitted to the outputs

    W x + λ · (h* − h)

x are the projection's inputs in the pruned model, W is its dense weight, and h and h* are the
residual streams of the pruned and of the dense model after this half of the layer, before it is
pruned. With λ = 0 the target is the layer's own output, as in the paper. See
docs/explanation/method.md.

Names end in their shape: B batch, S sequence, D d_model, O outputs (d_out), I inputs (d_in), T
tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.layers.block import Call, HalfPass, Step
from slimgpt.machine.ranks import Ranks
from slimgpt.machine.transfers import Transfers
from slimgpt.methods.statistics import Inputs

LEAST_GAIN = 0.05
"""Share of the mean gain: outputs with a smaller norm weight are not corrected."""


@dataclass(frozen=True)
class DenseStream:
    """The dense model's residual stream.

    Attributes:
        batches: (B, S, D) each, as of `Stack.embed`; advanced together with the pruned model's.
        weight: λ, in (0, 1].
    """

    batches: list[Tensor]
    weight: float


@dataclass(frozen=True)
class Target:
    """Sums that determine the least-squares fit of one projection to target outputs W x + r.

    Attributes:
        inputs: sums over its inputs x in the pruned model.
        correction: Σ_t r_t x_tᵀ, (O, I).
    """

    inputs: Inputs
    correction: Tensor

    @classmethod
    def empty(cls, W_OI: Tensor) -> Target:
        """Empty sums for a projection."""
        inputs = Inputs.empty(W_OI.shape[1], W_OI.device)
        zeros_OI = torch.zeros(W_OI.shape, dtype=inputs.gram.dtype, device=W_OI.device)
        return cls(inputs, zeros_OI)

    def sum_over(self, ranks: Ranks) -> None:
        """Add the sums of the other ranks."""
        self.inputs.sum_over(ranks)
        ranks.sum_(self.correction)


def gather(
    found: Target,
    stream: list[Tensor],
    dense: DenseStream,
    call: Callable[[Tensor], Call],
    half: Callable[[Tensor, Call], HalfPass],
    advance: Step,
    transfers: Transfers,
) -> None:
    """Run one half of a layer, before it is pruned, on both streams and accumulate its target.

    Advances the dense model's stream, not the pruned model's.

    Args:
        found: sums to add to.
        stream: residual stream of the pruned model, (B, S, D) each.
        call: hidden state → keyword arguments of the layer (`Stack.call`).
        half: `Block.attention_pass` or `Block.ffn_pass`.
        advance: the method of `Block` that runs the same half.
    """
    pairs = zip(transfers.each(stream), transfers.each(dense.batches), strict=True)
    for (position, own_BSD), (_, dense_BSD) in pairs:
        arguments = call(own_BSD)
        seen = half(own_BSD, arguments)
        target_BSD = advance(dense_BSD, arguments)
        dense.batches[position] = transfers.back(target_BSD, dense.batches[position])
        found.inputs.add_(seen.inputs)
        found.correction.add_(correction(seen, target_BSD, dense.weight).T @ seen.inputs.float())


def correction(seen: HalfPass, target_BSD: Tensor, weight: float) -> Tensor:
    """r for every token: the outputs that add λ · (target − stream) to the stream.

    Args:
        seen: the half on the pruned model's stream.
        target_BSD: the dense model's stream after the half.
        weight: λ.

    Returns:
        (T, O) float32; 0 for outputs with a small gain.
    """
    difference_TD = (target_BSD.float() - seen.stream.float()).flatten(0, 1)
    gain_D = seen.gain
    small_D = gain_D.abs() <= LEAST_GAIN * gain_D.abs().mean()
    inverse_D = torch.where(small_D, 0.0, 1 / gain_D.masked_fill(small_D, 1.0))
    return weight * difference_TD * inverse_D / seen.scale
