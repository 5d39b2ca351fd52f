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
    """The stock class that has a size's layers.

    Attributes:
        model_type, causal: of transformers.
        extra: keys of the config beyond the parent's.
    """

    model_type: str
    causal: str
    extra: Mapping[str, Any]


def uniform_size(sizes: Sequence[LayerSize]) -> LayerSize | None:
    """The one size that all layers have; None if they differ."""
    return sizes[0] if len(set(sizes)) == 1 else None


def padded_size(architecture: Architecture) -> LayerSize:
    """The smallest size that has room for every layer's KV groups, heads in a group, channels.

    Where heads span the hidden size it is as many as do.
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
    """Why no stock class has layers of this size; empty if one does."""
    family, hidden = architecture.family, architecture.hidden
    if family.spanning and size.heads * architecture.head_dim != hidden:
        return (
            f"heads of {family.prefix}{family.causal_suffix} span the hidden size: {size.heads} "
            f"would be {hidden // size.heads} wide, and these are {architecture.head_dim}"
        )
    biases = [name for name in family.biases(config) if name not in family.biased]
    if family.model_type == "llama" and hidden % size.heads and biases:
        return (
            f"{size.heads} heads do not divide the hidden size {hidden}, which LlamaConfig wants, "
            f"and Mistral, which does without, has no biases ({biases[0]})"
        )
    return ""


def padding_obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why zeros cannot fill layers up to the largest; empty if they can."""
    family = architecture.family
    if architecture.experts:
        return "zeros are not written into experts, which are one tensor"
    if family.fused or family.wide_parts > 1:
        return "zeros are not written into fused projections"
    if family.span_norms:
        return "its norms over all heads count the zeros, which changes what is kept"
    if family.numbered_norms and family.has_head_norms(config):
        return "it has a norm for every head, and none for those that are filled up"
    return obstacle(architecture, config, padded_size(architecture))


def stock_of(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> Stock:
    """The stock class for layers of one size.

    Raises:
        SpecError: there is none (see `obstacle`).
    """
    if reason := obstacle(architecture, config, size):
        raise SpecError(
            f"no stock class holds the model: {reason}", hint="use format `exact`, which does"
        )
    family = architecture.family
    if family.model_type == "llama" and architecture.hidden % size.heads:
        return Stock("mistral", "MistralForCausalLM", {"sliding_window": None})
    return Stock(family.model_type, f"{family.prefix}{family.causal_suffix}", {})
