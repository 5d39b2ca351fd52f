"""What every removable piece of a model costs in parameters.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from slimgpt.checkpoints.architecture import Architecture, LayerSize
from slimgpt.config import HeadUnit
from slimgpt.errors import SpecError


@dataclass(frozen=True)
class LayerCosts:
    """One layer's removable pieces.

    Attributes:
        size: what the layer has now.
        head_unit: what leaves together.
        unit: parameters of one removal unit of attention: a KV group, or one query head of every
            group.
        channel: parameters of one FFN channel.
    """

    size: LayerSize
    head_unit: HeadUnit
    unit: int
    channel: int

    @property
    def units(self) -> int:
        """How many removal units the attention has."""
        if self.head_unit == "kv_group":
            return self.size.kv_heads
        return self.size.heads // self.size.kv_heads

    def left(self, units_removed: int, width: int) -> LayerSize:
        """The layer's size after `units_removed` units have left and the FFN is `width` wide."""
        per_group = self.size.heads // self.size.kv_heads
        if self.head_unit == "kv_group":
            kv_heads = self.size.kv_heads - units_removed
            return LayerSize(kv_heads * per_group, kv_heads, width)
        kv_heads = self.size.kv_heads
        return LayerSize(kv_heads * (per_group - units_removed), kv_heads, width)

    def least_width(self, multiple: int) -> int:
        """The smallest legal FFN width: one multiple, or all there is."""
        return min(multiple, self.size.channels)

    def width_above(self, wanted: float, multiple: int) -> int:
        """The smallest legal width that is at least `wanted`."""
        width = multiple * math.ceil(wanted / multiple - 1e-9)
        return min(max(width, self.least_width(multiple)), self.size.channels)

    def next_width(self, width: int, direction: int, multiple: int) -> int:
        """The next legal width up (+1) or down (−1), or the same at an end."""
        if direction > 0:
            return min(multiple * (width // multiple + 1), self.size.channels)
        below = multiple * ((width - 1) // multiple)
        return below if below >= multiple else width


@dataclass(frozen=True)
class Costs:
    """The model's removable pieces, its parameter count and the bytes that one takes."""

    parameters: int
    layers: tuple[LayerCosts, ...]
    bytes_per_parameter: float


def of(
    architecture: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    parameters: int,
    head_unit: HeadUnit,
    bytes_per_parameter: float,
) -> Costs:
    """Costs read off the tensors' shapes.

    Args:
        shapes: shape of every tensor in the checkpoint by full name; only biases are looked up.
        parameters: of the whole model, tied tensors counted once.
        bytes_per_parameter: of the weights on disk.

    Raises:
        SpecError: single query heads cannot leave because every KV head has only one.
    """
    ungrouped = all(size.heads == size.kv_heads for size in architecture.sizes)
    if head_unit == "query_head" and ungrouped:
        raise SpecError(
            "head_unit `query_head` needs grouped-query attention, and this model has one query "
            "head for every KV head",
            hint="use head_unit `kv_group`",
        )
    layers = tuple(
        _layer(architecture, size, f"{architecture.family.layers}.{index}", shapes, head_unit)
        for index, size in enumerate(architecture.sizes)
    )
    return Costs(parameters, layers, bytes_per_parameter)


def _layer(
    architecture: Architecture,
    size: LayerSize,
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    head_unit: HeadUnit,
) -> LayerCosts:
    family, d, b = architecture.family, architecture.hidden, architecture.head_dim

    def rows(module: str) -> int:
        """Parameters of one output row of a linear layer, its bias included."""
        return d + (f"{name}.{module}.bias" in shapes)

    query_head = b * (rows(family.query) + d)  # a row block of q_proj, a column block of o_proj
    kv_head = b * (rows(family.key) + rows(family.value))
    per_group = size.heads // size.kv_heads
    unit = (
        per_group * query_head + kv_head if head_unit == "kv_group" else size.kv_heads * query_head
    )
    channel = sum(rows(module) for module in family.wide) + d
    return LayerCosts(size, head_unit, unit, channel)
