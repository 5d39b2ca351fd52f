"""Choice of the stock class and of one layer size for `uniform` and `padded`.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.errors import SpecError


@dataclass(frozen=True)
class Stock:
    """The stock class for layers of a size.

    Attributes:
        model_type, causal: model type and class name in transformers.
        extra: config keys in addition to the parent's.
    """

    model_type: str
    causal: str
    extra: Mapping[str, Any]


def uniform_size(sizes: Sequence[LayerSize]) -> LayerSize | None:
    """The size of all layers; None if they differ."""
    return sizes[0] if len(set(sizes)) == 1 else None


def padded_size(architecture: Architecture) -> LayerSize:
    """The smallest size with room for every layer's KV groups, heads per group and channels.

    In families where heads × width is the hidden size, the number of heads is the dense one.
    """
    sizes, family = architecture.sizes, architecture.family
    channels = max(size.channels for size in sizes)
    kv_heads = max(size.kv_heads for size in sizes)
    per_group = max(size.heads // size.kv_heads for size in sizes)
    spanning = architecture.hidden // architecture.head_dim
    if family.spanning and spanning % per_group == 0:
        kv_heads = spanning // per_group
    return LayerSize(kv_heads * per_group, kv_heads, channels)


def obstacle(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> str:
    """Why no stock class supports layers of this size; empty if one does."""
    family, hidden = architecture.family, architecture.hidden
    if family.spanning and size.heads * architecture.head_dim != hidden:
        return (
            f"{family.prefix}{family.causal_suffix} requires heads × width to be the hidden size: "
            f"{size.heads} heads would be {hidden // size.heads} wide, these are "
            f"{architecture.head_dim}"
        )
    biases = [name for name in family.biases(config) if name not in family.biased]
    if family.model_type == "llama" and hidden % size.heads and biases:
        return (
            f"{size.heads} heads do not divide the hidden size {hidden}, as LlamaConfig requires, "
            f"and Mistral, which does not require it, has no biases ({biases[0]})"
        )
    return ""


def padding_obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why layers cannot be padded with zeros; empty if they can."""
    family = architecture.family
    if architecture.experts:
        return "padding of experts is not supported"
    if family.fused or family.wide_parts > 1:
        return "padding of fused projections is not supported"
    if family.span_norms:
        return "padding would change its norms over all heads"
    if family.numbered_norms and family.has_head_norms(config):
        return "it has a norm for every head, and padded heads have none"
    return obstacle(architecture, config, padded_size(architecture))


def stock_of(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> Stock:
    """The stock class for layers of one size.

    Raises:
        SpecError: no stock class supports it, see `obstacle`.
    """
    if reason := obstacle(architecture, config, size):
        raise SpecError(f"no stock class supports the model: {reason}", hint="use format `exact`")
    family = architecture.family
    if family.model_type == "llama" and architecture.hidden % size.heads:
        return Stock("mistral", "MistralForCausalLM", {"sliding_window": None})
    return Stock(family.model_type, f"{family.prefix}{family.causal_suffix}", {})
