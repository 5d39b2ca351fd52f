"""Parameter counts of the removal units of a model: KV groups, query heads and FFN channels.

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

EXPERT_MULTIPLE = 8  # grouped matrix products of experts need rows of 16 bytes: 8 in 16 bits


@dataclass(frozen=True)
class LayerCosts:
    """Parameter counts of one layer's removal units.

    Attributes:
        size: dense size of the layer.
        head_unit: removal unit of attention: a KV group with its query heads, or one query head of
            every group (`mixed`: both).
        unit: parameters of one removal unit; with `mixed`, of a KV group.
        channel: parameters of one FFN channel, in all experts.
        head, kv_head: parameters of one query head, and of one KV head without its query heads.
        step: KV groups are removed in multiples of this, so that devices can share the others.
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
        """Number of removal units of the attention."""
        if self.head_unit == "query_head":
            return self.size.heads // self.size.kv_heads
        return self.size.kv_heads // self.step

    def removed(self, after: LayerSize) -> int:
        """Number of parameters removed by pruning the layer to size `after`."""
        return (
            (self.size.heads - after.heads) * self.head
            + (self.size.kv_heads - after.kv_heads) * self.kv_head
            + (self.size.channels - after.channels) * self.channel
        )

    def attention_levels(self) -> list[LayerSize]:
        """All sizes that attention can be pruned to, largest first, with the FFN unchanged.

        With `mixed` units: any number of KV groups, with any equal number of query heads in each.
        """
        size, per_group = self.size, self.size.heads // self.size.kv_heads
        groups, heads = [size.kv_heads], [per_group]
        if self.head_unit != "query_head":
            groups = list(range(size.kv_heads, 0, -self.step))
        if self.head_unit != "kv_group":
            heads = list(range(per_group, 0, -1))
        return [LayerSize(kv * own, kv, size.channels) for kv in groups for own in heads]

    def without(self, units: int, width: int) -> LayerSize:
        """The layer's size with `units` removal units fewer and `width` FFN channels."""
        kv_heads, per_group = self.size.kv_heads, self.size.heads // self.size.kv_heads
        if self.head_unit == "query_head":
            per_group -= units
        else:
            kv_heads -= units * self.step
        return LayerSize(kv_heads * per_group, kv_heads, width)

    def least_width(self, multiple: int) -> int:
        """The smallest legal FFN width: `multiple`, or the dense width if that is smaller."""
        return min(multiple, self.size.channels)

    def width_above(self, wanted: float, multiple: int) -> int:
        """The smallest legal FFN width that is at least `wanted`; at most the dense width."""
        width = multiple * math.ceil(wanted / multiple - 1e-9)
        return min(max(width, self.least_width(multiple)), self.size.channels)

    def next_width(self, width: int, direction: int, multiple: int) -> int:
        """The next legal FFN width above (+1) or below (−1) `width`, or `width` at an end."""
        if direction > 0:
            return min(multiple * (width // multiple + 1), self.size.channels)
        below = multiple * ((width - 1) // multiple)
        return below if below >= multiple else width


@dataclass(frozen=True)
class Costs:
    """The costs of all layers.

    Attributes:
        parameters: parameter count of the dense model, tied tensors counted once.
        bytes_per_parameter: of the weights on disk.
        least_multiple: FFN widths must be multiples of this, for the grouped products of experts or
            for tensor parallelism.
    """

    parameters: int
    layers: tuple[LayerCosts, ...]
    bytes_per_parameter: float
    least_multiple: int = 1

    def for_tensor_parallel(self, devices: int) -> Costs:
        """The costs with KV heads and channels of every layer kept divisible by `devices`.

        Raises:
            SpecError: the dense layers are not divisible by it.
        """
        for index, layer in enumerate(self.layers):
            size = layer.size
            if size.kv_heads % devices or size.channels % devices:
                raise SpecError(
                    f"tensor_parallel {devices}: layer {index} has {size.kv_heads} KV heads and "
                    f"{size.channels} FFN channels, not both divisible by {devices}",
                    hint="use a smaller number",
                )
        layers = tuple(
            one
            if one.head_unit == "query_head"  # which leaves the KV heads as they are
            else replace(one, unit=one.unit * devices, step=devices)
            for one in self.layers
        )
        least = math.lcm(self.least_multiple, devices)
        return Costs(self.parameters, layers, self.bytes_per_parameter, least)


def of(
    architecture: Architecture,
    config: Mapping[str, Any],
    parameters: int,
    head_unit: HeadUnit,
    bytes_per_parameter: float,
) -> Costs:
    """Costs of a model, from the parameter counts of layers that differ by one unit.

    Args:
        config: the content of `config.json`, which determines biases and norms.
        parameters: of the whole model, tied tensors counted once.
        bytes_per_parameter: of the weights on disk.

    Raises:
        SpecError: single query heads cannot be removed, because every KV head has only one.
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
    least = EXPERT_MULTIPLE if architecture.experts else 1
    return Costs(parameters, layers, bytes_per_parameter, least)


def _layer(
    architecture: Architecture, config: Mapping[str, Any], size: LayerSize, head_unit: HeadUnit
) -> LayerCosts:
    def count(size: LayerSize) -> int:
        return sum(map(math.prod, layout.layer(architecture, config, size).values()))

    heads, kv_heads, channels = size.heads, size.kv_heads, size.channels
    per_group, dense = heads // kv_heads, count(size)
    group = count(LayerSize(heads + per_group, kv_heads + 1, channels)) - dense
    queries = count(LayerSize(heads + kv_heads, kv_heads, channels)) - dense
    head = queries // kv_heads
    return LayerCosts(
        size,
        head_unit,
        unit=queries if head_unit == "query_head" else group,
        channel=count(LayerSize(heads, kv_heads, channels + 1)) - dense,
        head=head,
        kv_head=group - per_group * head,
    )
