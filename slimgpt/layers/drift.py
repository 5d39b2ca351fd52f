"""Error of the pruned model's activations relative to the dense model, per layer (paper, Figure 2).

Names end in their shape: B batch, S sequence, D d_model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.layers.stack import Stack

SEQUENCES = 8
TOKENS = 256


@dataclass(frozen=True)
class Drift:
    """Relative squared errors after one layer, ‖pruned − dense‖² / ‖dense‖² over all tokens.

    Attributes:
        stream: error of the residual stream.
        ffn: error of the FFN's addition to it, which the paper's figure shows.
    """

    layer: int
    stream: float
    ffn: float


@torch.no_grad()
def measure(dense: Stack, pruned: Stack, token_ids_BS: Tensor) -> Iterator[Drift]:
    """Run both models layer by layer, each on its own residual stream.

    Args:
        token_ids_BS: int64; only the first 256 tokens of the first 8 sequences are used.

    Yields:
        the errors after each layer.
    """
    tokens_BS = token_ids_BS[:SEQUENCES, :TOKENS].contiguous()
    streams = [torch.cat(stack.embed(tokens_BS)).to(stack.device) for stack in (dense, pruned)]
    for index in range(dense.architecture.layers):
        added = []
        for place, stack in enumerate((dense, pruned)):
            block, hidden_BSD = stack.layer(index), streams[place]
            call = stack.call(index, hidden_BSD)
            streams[place], added_BSD = block.ffn_contribution(hidden_BSD, call)
            added.append(added_BSD)
        yield Drift(index, relative_error(*streams), relative_error(*added))


def relative_error(dense: Tensor, pruned: Tensor) -> float:
    """‖pruned − dense‖² / ‖dense‖², summed in float64; 0 where both are 0."""
    dense, pruned = dense.double(), pruned.double()
    whole = float(dense.square().sum())
    return float((pruned - dense).square().sum()) / whole if whole else 0.0
