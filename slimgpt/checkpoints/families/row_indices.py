"""Row and column indices of heads and channels in projection weights, fused tensors included.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence

from slimgpt.checkpoints.families.architecture import Architecture, LayerSize


def of_heads(
    architecture: Architecture, size: LayerSize, heads: Sequence[int], kv_heads: Sequence[int]
) -> dict[str, list[int]]:
    """Row indices of the queries, keys and values of some heads, by projection.

    Args:
        size: the layer's size.
        heads, kv_heads: indices of query heads and KV heads, ascending.
    """
    family, width = architecture.family, architecture.head_dim
    queries, keys = blocks(heads, width), blocks(kv_heads, width)
    if not family.fused:
        return {family.query: queries, family.key: keys, family.value: keys}
    if family.fused == "stacked":
        after_queries, after_keys = size.heads * width, (size.heads + size.kv_heads) * width
        shifted = [after_queries + row for row in keys], [after_keys + row for row in keys]
        return {family.query: [*queries, *shifted[0], *shifted[1]]}
    per_group = size.heads // size.kv_heads
    rows: list[int] = []
    for group in kv_heads:
        first = group * (per_group + 2)
        own = [first + head % per_group for head in heads if head // per_group == group]
        rows += blocks([*own, first + per_group, first + per_group + 1], width)
    return {family.query: rows}


def of_channels(
    architecture: Architecture, size: LayerSize, channels: Sequence[int]
) -> dict[str, list[int]]:
    """Row indices of some FFN channels, by projection."""
    family = architecture.family
    parts = range(family.wide_parts)
    rows = [part * size.channels + channel for part in parts for channel in channels]
    return dict.fromkeys(family.wide, rows)


def blocks(units: Sequence[int], width: int) -> list[int]:
    """Row indices of units of `width` rows each."""
    return [unit * width + row for unit in units for row in range(width)]
