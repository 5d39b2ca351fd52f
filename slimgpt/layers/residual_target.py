"""Residual target: outputs that lead the pruned model's stream back to the dense one's.

The columns that stay are fitted to

    self + λ · (dense stream − pruned stream)

`self` is what the projection gives with all its columns, on the stream of the layers that are
pruned already, and the difference is taken behind the half with nothing of it cut. λ = 0
is the paper's fit. `methods.slimgpt` adds the correction to the weights before it prunes them.

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
from slimgpt.methods.statistics import Inputs

LEAST_GAIN = 0.05
"""Of the mean gain: outputs that a norm's weight all but silences are not corrected."""


@dataclass(frozen=True)
class DenseStream:
    """The dense model's residual stream beside the pruned one's.

    Attributes:
        batches: (B, S, D) each, on the host; advanced with the pruned stream.
        weight: λ, in (0, 1].
    """

    batches: list[Tensor]
    weight: float


@dataclass(frozen=True)
class Target:
    """What one projection is fitted to.

    Attributes:
        inputs: sums over its inputs in the pruned model.
        correction: Σ_t r_t x_tᵀ, (O, I), of what the outputs shall have besides W x.
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
        """Add what the other ranks have seen."""
        self.inputs.sum_over(ranks)
        ranks.sum_(self.correction)


def gather(
    found: Target,
    stream: list[Tensor],
    dense: DenseStream,
    call: Callable[[Tensor], Call],
    half: Callable[[Tensor, Call], HalfPass],
    advance: Step,
) -> None:
    """Run one half on both streams with nothing of it cut; only the dense one moves on.

    Args:
        found: the sums, added to.
        stream: of the pruned model, (B, S, D) each.
        call: the keyword arguments of the layer for such a batch.
        half: `Block.attention_pass` or `Block.ffn_pass`.
        advance: the same half.
    """
    device, total_OI = found.correction.device, found.correction
    for position, (own, other) in enumerate(zip(stream, dense.batches, strict=True)):
        hidden_BSD = own.to(device)
        arguments = call(hidden_BSD)
        seen = half(hidden_BSD, arguments)
        target_BSD = advance(other.to(device), arguments)
        dense.batches[position] = target_BSD.to(other.device)
        found.inputs.add_(seen.inputs)
        total_OI += correction(seen, target_BSD, dense.weight).T @ seen.inputs.float()


def correction(seen: HalfPass, target_BSD: Tensor, weight: float) -> Tensor:
    """What each token's outputs lack, (T, O) float32, of λ times the way to the target stream."""
    lacking_TD = (target_BSD.float() - seen.stream.float()).flatten(0, 1)
    gain_D = seen.gain
    silenced_D = gain_D.abs() <= LEAST_GAIN * gain_D.abs().mean()
    inverse_D = torch.where(silenced_D, 0.0, 1 / gain_D.masked_fill(silenced_D, 1.0))
    return weight * lacking_TD * inverse_D / seen.scale
