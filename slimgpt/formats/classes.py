"""Which stock class has layers of one size, and which size a model's layers have room in.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.family import Family
from slimgpt.errors import SpecError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


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


def padded_size(sizes: Sequence[LayerSize]) -> LayerSize:
    """The smallest size that has room for every layer's KV groups, heads in a group, channels."""
    kv_heads = max(size.kv_heads for size in sizes)
    per_group = max(size.heads // size.kv_heads for size in sizes)
    return LayerSize(kv_heads * per_group, kv_heads, max(size.channels for size in sizes))


def obstacle(family: Family, hidden: int, config: Mapping[str, Any], size: LayerSize) -> str:
    """Why no stock class has layers of this size; empty if one does."""
    if family.model_type not in FAMILIES:
        return (
            f"stock classes of {family.model_type} are not written; "
            f"these are: {', '.join(FAMILIES)}"
        )
    biases = [name for name in family.biases(config) if name not in family.biased]
    if family.model_type == "llama" and hidden % size.heads and biases:
        return (
            f"{size.heads} heads do not divide the hidden size {hidden}, which LlamaConfig wants, "
            f"and Mistral, which does without, has no biases ({biases[0]})"
        )
    return ""


def stock_of(family: Family, hidden: int, config: Mapping[str, Any], size: LayerSize) -> Stock:
    """The stock class for layers of one size.

    Raises:
        SpecError: there is none (see `obstacle`).
    """
    if reason := obstacle(family, hidden, config, size):
        raise SpecError(
            f"no stock class holds the model: {reason}", hint="use format `exact`, which does"
        )
    if family.model_type == "llama" and hidden % size.heads:
        return Stock("mistral", "MistralForCausalLM", {"sliding_window": None})
    return Stock(family.model_type, f"{family.prefix}{family.causal_suffix}", {})
