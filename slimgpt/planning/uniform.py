"""Candidate sizes for plans with layers of equal size, near a parameter target.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator

from slimgpt.errors import SpecError
from slimgpt.planning.costs import Costs


def sizes(costs: Costs, target: int, multiple: int, reach: int) -> Iterator[tuple[int, int]]:
    """Candidates: removal units of attention per layer, and the FFN widths nearest to the target.

    The first candidates remove about the same share of heads and of channels.

    Args:
        target: number of parameters to keep.
        multiple: FFN widths are multiples of this.
        reach: largest difference, in units, from the number for equal shares.

    Raises:
        SpecError: the dense layers have different sizes.
    """
    layer, count = costs.layers[0], len(costs.layers)
    if any(other.size != layer.size for other in costs.layers):
        raise SpecError(
            "format `uniform`: the model's own layers are of different sizes",
            hint="choose format `padded` or `gguf`",
        )
    remove = (costs.parameters - target) / count
    channels = layer.size.channels
    wanted = layer.units * remove / (layer.units * layer.unit + channels * layer.channel)
    near = [round(wanted) + step for step in range(-reach, reach + 1)]
    legal = {min(max(units, 0), layer.units - 1) for units in near}
    for units in sorted(legal, key=lambda units: abs(units - wanted)):
        left = channels - (remove - units * layer.unit) / layer.channel
        width = layer.width_above(left, multiple)
        yield units, width
        yield units, layer.next_width(width, -1, multiple)


def step(costs: Costs, multiple: int) -> int:
    """Parameters removed when every layer becomes one step narrower."""
    return multiple * sum(layer.channel for layer in costs.layers)
