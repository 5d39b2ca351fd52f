"""Parameter counts of every prunable unit of a model.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from slimgpt.checkpoints.families import layout
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.errors import SpecError
from slimgpt.spec.prune import HeadUnit

GROUPED = 8  # rows of 16 bytes, in 16 bits


@dataclass(frozen=True)
class LayerCosts:
    """One layer's removable pieces.

    Attributes:
        size: what the layer has now.
        head_unit: what leaves together.
        unit: parameters of one removal unit of attention: a KV group, or one query head of every
            group.
        channel: parameters of one FFN channel.
        head, kv_head: parameters of one query head, and of one KV head without its query heads.
        step: KV groups that leave at once, so that those which stay divide by a number.
    """

    size: LayerSize
    head_unit: HeadUnit
    unit: int
    channel: int
    head: int
    kv_head: int
    step: int = 1

    @property
    def units(self) -> int:
        """How many removal units the attention has."""
        if self.head_unit == "query_head":
            return self.size.heads // self.size.kv_heads
        return self.size.kv_heads // self.step

    def removed(self, left: LayerSize) -> int:
        """How many parameters leave with all but `left`."""
        return (
            (self.size.heads - left.heads) * self.head
            + (self.size.kv_heads - left.kv_heads) * self.kv_head
            + (self.size.channels - left.channels) * self.channel
        )

    def attention_levels(self) -> list[LayerSize]:
        """All that attention may be cut to, the largest first, the FFN as it is.

        With `mixed` units any number of KV groups with any number of query heads, as many in each.
        """
        size, per_group = self.size, self.size.heads // self.size.kv_heads
        groups = range(size.kv_heads, 0, -self.step) if self._groups_leave else [size.kv_heads]
        heads = range(per_group, 0, -1) if self._query_heads_leave else [per_group]
        return [LayerSize(kv * own, kv, size.channels) for kv in groups for own in heads]

    @property
    def _groups_leave(self) -> bool:
        return self.head_unit != "query_head"

    @property
    def _query_heads_leave(self) -> bool:
        return self.head_unit != "kv_group"

    def in_steps(self, parts: int) -> LayerCosts:
        """The layer where KV groups leave by so many; query heads of every group always divide."""
        if self.head_unit == "query_head":
            return self
        return replace(self, unit=self.unit * parts, step=parts)

    def left(self, units_removed: int, width: int) -> LayerSize:
        """The layer's size after `units_removed` units have left and the FFN is `width` wide."""
        per_group = self.size.heads // self.size.kv_heads
        if self.head_unit != "query_head":
            kv_heads = self.size.kv_heads - units_removed * self.step
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
    least_multiple: int = 1
    """Of channels: grouped products of experts, and shards of a layer, take no others."""

    def shared_by(self, parts: int) -> Costs:
        """The costs where what is left of every layer divides by a number of devices.

        Raises:
            SpecError: what is there does not.
        """
        for index, layer in enumerate(self.layers):
            size = layer.size
            if size.kv_heads % parts or size.channels % parts:
                raise SpecError(
                    f"tensor_parallel {parts}: layer {index} has {size.kv_heads} KV heads and "
                    f"{size.channels} FFN channels, which do not divide by it",
                    hint="use a smaller number",
                )
        layers = tuple(layer.in_steps(parts) for layer in self.layers)
        least = math.lcm(self.least_multiple, parts)
        return Costs(self.parameters, layers, self.bytes_per_parameter, least)


def of(
    architecture: Architecture,
    config: Mapping[str, Any],
    parameters: int,
    head_unit: HeadUnit,
    bytes_per_parameter: float,
) -> Costs:
    """Costs by what the layout of a layer with one piece less would hold less.

    Args:
        config: the content of `config.json`, which says what has a bias or a norm.
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
    made = {size: _layer(architecture, config, size, head_unit) for size in architecture.sizes}
    layers = tuple(made[size] for size in architecture.sizes)
    least = GROUPED if architecture.experts else 1
    return Costs(parameters, layers, bytes_per_parameter, least)


def _layer(
    architecture: Architecture, config: Mapping[str, Any], size: LayerSize, head_unit: HeadUnit
) -> LayerCosts:
    def more(before: LayerSize, after: LayerSize) -> int:
        """How many parameters the larger of two layers has more."""
        one, other = (layout.layer(architecture, config, size) for size in (before, after))
        return sum(map(math.prod, one.values())) - sum(map(math.prod, other.values()))

    per_group = size.heads // size.kv_heads
    group = more(LayerSize(size.heads + per_group, size.kv_heads + 1, size.channels), size)
    queries = more(LayerSize(size.heads + size.kv_heads, size.kv_heads, size.channels), size)
    head = queries // size.kv_heads
    wider = LayerSize(size.heads, size.kv_heads, size.channels + 1)
    return LayerCosts(
        size,
        head_unit,
        unit=queries if head_unit == "query_head" else group,
        channel=more(wider, size),
        head=head,
        kv_head=group - per_group * head,
    )
