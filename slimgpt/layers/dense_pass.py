"""A dense pass before the pruning pass, for methods that choose the layers' shares by scores.

FLAP needs the variance of every projection's inputs in the dense model, and allocates all units of
the model from one pool: scores are standardised within each kind of projection of each layer, and
the least leave first (An et al. 2023, section 4.2, "AL-AM").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.layers.sequence import DenseVariances
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import matrix
from slimgpt.methods.baselines import fluctuation
from slimgpt.methods.statistics import Inputs
from slimgpt.planning.costs import Costs
from slimgpt.planning.plan import Allocation


@dataclass(frozen=True)
class DenseLayer:
    """One layer of the dense model: input variances, and standardised scores of its units.

    Attributes:
        heads: scores of the attention's removal units, ascending, (units,).
        channels: scores of the FFN's channels, ascending, (channels,).
    """

    variances: DenseVariances
    heads: Tensor
    channels: Tensor


@torch.no_grad()
def dense_pass(stack: Stack, token_ids: Tensor, costs: Costs) -> Iterator[DenseLayer]:
    """Survey the dense model layer by layer.

    Args:
        token_ids: calibration tokens (sequences, seq) int64.
    """
    family = stack.architecture.family
    batches = stack.embed(token_ids)
    for index, layer in enumerate(costs.layers):
        tensors = stack.read_layer(index)
        block = stack.build(index, layer.size, tensors)
        wide, deep = matrix(tensors, family, family.output), matrix(tensors, family, family.down)
        attention = Inputs.empty(wide.shape[1], stack.device)
        ffn = Inputs.empty(deep.shape[1], stack.device)
        for position, batch in enumerate(batches):
            hidden = batch.to(stack.device)
            call = stack.call(index, hidden)
            attention.add_(block.attention_inputs(hidden, call))
            if stack.parallel:
                ffn.add_(block.ffn_inputs(hidden, call)[0])
                batches[position] = block.forward(hidden, call).to(batch.device)
                continue
            hidden = block.attend(hidden, call)
            ffn.add_(block.ffn_inputs(hidden, call)[0])
            batches[position] = block.feed_forward(hidden, call).to(batch.device)
        variances = DenseVariances(attention.variance, ffn.variance)
        by_column = standardised(fluctuation(wide, variances.attention))
        groups = 1 if layer.head_unit == "kv_group" else layer.size.kv_heads
        heads = by_column.view(groups, layer.units, -1).mean(2).sort(dim=1).values.mean(0)
        channels = standardised(fluctuation(deep, variances.ffn)).sort().values
        yield DenseLayer(variances, heads.cpu(), channels.cpu())


def standardised(scores: Tensor) -> Tensor:
    """Zero mean and unit variance."""
    return (scores - scores.mean()) / scores.std().clamp_min(1e-30)


def global_allocation(survey: list[DenseLayer], costs: Costs) -> Callable[[float], Allocation]:
    """What leaves when the share x of all removable parameters goes, least scores first."""
    scores, weights, owners = [], [], []
    for index, (layer, cost) in enumerate(zip(survey, costs.layers, strict=True)):
        for kind, values, unit in ((0, layer.heads, cost.unit), (1, layer.channels, cost.channel)):
            scores.append(values)
            weights.append(torch.full(values.shape, float(unit), dtype=torch.float64))
            owners.append(torch.full(values.shape, 2 * index + kind))
    order = torch.cat(scores).argsort(stable=True)
    spent = torch.cat(weights)[order].cumsum(0)
    owner = torch.cat(owners)[order]

    def allocation(x: float) -> Allocation:
        leaves = owner[spent <= x * spent[-1]]
        counts = torch.bincount(leaves, minlength=2 * len(survey)).tolist()
        return Allocation(tuple(map(float, counts[0::2])), tuple(map(float, counts[1::2])))

    return allocation
