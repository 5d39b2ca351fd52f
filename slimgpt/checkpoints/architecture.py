"""What a model's `config.json` says about its sizes, in one vocabulary for all families.

Imports neither torch nor transformers: plans are made without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slimgpt.checkpoints.families import FAMILIES, Family
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError

MOST_LAYERS = 4096


@dataclass(frozen=True)
class LayerSize:
    """What is left of one decoder layer: query heads, KV heads, FFN channels."""

    heads: int
    kv_heads: int
    channels: int


@dataclass(frozen=True)
class Architecture:
    """Sizes of a decoder-only transformer, layer by layer (they differ once it is pruned)."""

    family: Family
    hidden: int
    head_dim: int
    vocabulary: int
    tied: bool
    dtype: str
    sizes: tuple[LayerSize, ...]

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.sizes)


def read(config: Mapping[str, Any]) -> Architecture:
    """Read the architecture from the content of a `config.json`.

    Raises:
        UnsupportedModelError: the family is not supported, or the checkpoint is quantised.
        BrokenCheckpointError: a size is missing or not a positive integer.
    """
    family = _family(config)
    quantised = config.get("quantization_config")
    if quantised:
        known = isinstance(quantised, Mapping)
        method = quantised.get("quant_method", "unknown method") if known else quantised
        raise UnsupportedModelError(
            f"config.json: the checkpoint is quantised ({method})",
            hint="prune the full-precision checkpoint (float32, bfloat16, float16) and quantise "
            "the result",
        )
    hidden = _size(config, "hidden_size")
    heads = _size(config, "num_attention_heads")
    dense = LayerSize(
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", default=heads),
        channels=_size(config, "intermediate_size"),
    )
    count = _size(config, "num_hidden_layers")
    if count > MOST_LAYERS:
        raise UnsupportedModelError(
            f"config.json: {count} layers are more than any model has",
            hint="download the model's config.json again",
        )
    overrides = _overrides(config)
    return Architecture(
        family=family,
        hidden=hidden,
        head_dim=_size(config, "head_dim", default=hidden // heads),
        vocabulary=_size(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
        sizes=tuple(_layer_size(overrides, index, dense) for index in range(count)),
    )


def _family(config: Mapping[str, Any]) -> Family:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(
            f"config.json: model_type {model_type!r} is not supported",
            hint=f"supported families: {known}",
        )
    return FAMILIES[model_type]


def _overrides(config: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The content of `per_layer_config` by layer; transformers pads its keys with zeros."""
    overrides = config.get("per_layer_config") or {}
    try:
        return {int(key): dict(values) for key, values in overrides.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BrokenCheckpointError(
            "config.json: per_layer_config is not a mapping of layer numbers to sizes",
            hint="download the model's config.json again",
        ) from error


def _layer_size(
    overrides: Mapping[int, Mapping[str, Any]], index: int, dense: LayerSize
) -> LayerSize:
    """The layer's own sizes where it has some, else the global ones."""
    own = overrides.get(index, {})
    size = LayerSize(
        heads=_size(own, "num_attention_heads", default=dense.heads),
        kv_heads=_size(own, "num_key_value_heads", default=dense.kv_heads),
        channels=_size(own, "intermediate_size", default=dense.channels),
    )
    if size.heads % size.kv_heads:
        raise BrokenCheckpointError(
            f"config.json: layer {index} has {size.heads} query heads for {size.kv_heads} KV heads",
            hint="the number of query heads must be a multiple of the number of KV heads",
        )
    return size


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BrokenCheckpointError(
            f"config.json: {key} is {config.get(key)!r}, not a positive integer",
            hint="download the model's config.json again",
        )
    return value
