"""The dense forward pass before pruning, for methods that allocate ratios by global scores.

FLAP needs the variance of the inputs of every output projection in the dense model. It ranks the
units of all layers together: scores are standardised within each projection, and the units with the
smallest are removed first (An et al. 2023, section 4.2, "AL-AM").

Names end in their shape: Q sequences, B batch, S sequence, D d_model, O outputs (d_out), I inputs
(d_in), U units of attention, C FFN channels, G groups; N units and channels of all layers, R those
removed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.layers.layer_pruning import DenseVariances
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import output_weights
from slimgpt.methods.baselines import fluctuation
from slimgpt.methods.statistics import Inputs
from slimgpt.planning.costs import Costs
from slimgpt.planning.plan import Allocation


@dataclass(frozen=True)
class DenseLayer:
    """One layer of the dense model: input variances, and standardised scores of its units.

    Attributes:
        heads: scores of the attention's removal units, ascending, (U,), on the CPU.
        channels: scores of the FFN channels, ascending, (C,), on the CPU.
    """

    variances: DenseVariances
    heads: Tensor
    channels: Tensor


@torch.no_grad()
def dense_pass(
    stack: Stack, token_ids_QS: Tensor, costs: Costs
) -> Generator[DenseLayer, None, None]:
    """Run the dense model layer by layer; each rank runs its share of the batches.

    Args:
        token_ids_QS: calibration tokens, int64.

    Yields:
        variances and scores of each layer.
    """
    batches = stack.embed(stack.share(token_ids_QS))
    for index, layer in enumerate(costs.layers):
        tensors = stack.read_layer(index)
        block = stack.build(index, layer.size, tensors)
        (output_OI,) = output_weights(tensors, stack.architecture, "attention")
        (down_OI,) = output_weights(tensors, stack.architecture, "ffn")
        attention = Inputs.empty(output_OI.shape[1], stack.device)
        ffn = Inputs.empty(down_OI.shape[1], stack.device)
        for position, before_BSD in stack.transfers.each(batches):
            hidden_BSD = before_BSD
            call = stack.call(index, hidden_BSD)
            if stack.parallel:
                heads_BSI, channels_BSI = block.inputs(hidden_BSD, call)
                hidden_BSD = block.forward(hidden_BSD, call)
            else:
                (heads_BSI,) = block.attention_inputs(hidden_BSD, call)
                hidden_BSD = block.attend(hidden_BSD, call)
                (channels_BSI,) = block.ffn_inputs(hidden_BSD, call)
                hidden_BSD = block.feed_forward(hidden_BSD, call)
            attention.add_(heads_BSI)
            ffn.add_(channels_BSI)
            batches[position] = stack.transfers.back(hidden_BSD, batches[position])
        attention.sum_over(stack.ranks)
        ffn.sum_over(stack.ranks)
        variances = DenseVariances(attention.variance.cpu(), ffn.variance.cpu())
        scores_I = standardised(fluctuation(output_OI, attention.variance))
        groups = 1 if layer.head_unit == "kv_group" else layer.size.kv_heads
        scores_GU = scores_I.view(groups, layer.units, -1).mean(2)
        heads_U = scores_GU.sort(dim=1).values.mean(0)
        channels_C = standardised(fluctuation(down_OI, ffn.variance)).sort().values
        yield DenseLayer(variances, heads_U.cpu(), channels_C.cpu())


def standardised(scores: Tensor) -> Tensor:
    """The scores, shifted and scaled to mean 0 and variance 1."""
    return (scores - scores.mean()) / scores.std().clamp_min(1e-30)


def global_allocation(layers: list[DenseLayer], costs: Costs) -> Callable[[float], Allocation]:
    """Units to remove in each layer, as a function of the share x of all removable parameters.

    Units with the smallest scores are removed first, until their parameters are x of the total.
    """
    scores, weights, owners = [], [], []
    for index, (layer, cost) in enumerate(zip(layers, costs.layers, strict=True)):
        for kind, values, unit in ((0, layer.heads, cost.unit), (1, layer.channels, cost.channel)):
            scores.append(values)
            weights.append(torch.full(values.shape, float(unit), dtype=torch.float64))
            owners.append(torch.full(values.shape, 2 * index + kind))
    order_N = torch.cat(scores).argsort(stable=True)
    spent_N = torch.cat(weights)[order_N].cumsum(0)
    owner_N = torch.cat(owners)[order_N]

    def allocation(x: float) -> Allocation:
        removed_R = owner_N[spent_N <= x * spent_N[-1]]
        counts = torch.bincount(removed_R, minlength=2 * len(layers)).tolist()
        return Allocation(tuple(map(float, counts[0::2])), tuple(map(float, counts[1::2])))

    return allocation
