"""`Architecture`: the sizes in a `config.json`, with the same field names for every family.

Imports neither torch nor transformers, because plans need neither.
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from slimgpt.checkpoints.families.family import Family
from slimgpt.checkpoints.families.table import FAMILIES, OTHERS, READ_AS_ANOTHER
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError

MOST_LAYERS = 4096
MOST_EXPERTS = 4096


@dataclass(frozen=True)
class LayerSize:
    """Numbers of query heads, KV heads and FFN channels of one decoder layer."""

    heads: int
    kv_heads: int
    channels: int


@dataclass(frozen=True)
class Architecture:
    """Sizes of a decoder-only transformer; layers of a pruned model differ."""

    family: Family
    hidden: int
    head_dim: int
    vocabulary: int
    tied: bool
    dtype: str
    sizes: tuple[LayerSize, ...]
    experts: int = 0
    """Number of experts per layer, each with the layer's number of channels; 0: a dense FFN."""

    def ffns(self) -> tuple[Architecture, ...]:
        """The architecture with the tensor names of each FFN of a layer: one per expert."""
        if not self.experts:
            return (self,)
        family = self.family
        return tuple(replace(self, family=family.expert(n)) for n in range(self.experts))

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
    full = family.completed(config)
    _check_variant(family, full)
    keys = family.keys
    hidden, count = _size(full, keys.hidden), _size(full, keys.layers)
    whole = dense(family, full)
    if count > MOST_LAYERS:
        raise UnsupportedModelError(
            f"config.json: {count} layers, at most {MOST_LAYERS} are supported",
            hint="download the model's config.json again",
        )
    given = _overrides(config)
    experts = _experts(family, full)
    width = hidden // whole.heads
    return Architecture(
        family=family,
        hidden=hidden,
        head_dim=width if family.spanning else _size(full, "head_dim", default=width),
        vocabulary=_size(full, "vocab_size"),
        tied=bool(full.get("tie_word_embeddings", False)),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or "float32"),
        sizes=tuple(_layer_size(given, index, family, full, whole) for index in range(count)),
        experts=experts,
    )


def _experts(family: Family, config: Mapping[str, Any]) -> int:
    if not family.experts:
        return 0
    known = [key for key in family.experts if config.get(key) is not None]
    count = _size(config, (known or family.experts)[0])
    if count > MOST_EXPERTS:
        raise UnsupportedModelError(
            f"config.json: {count} experts, at most {MOST_EXPERTS} are supported",
            hint="download the model's config.json again",
        )
    return count


def positions(architecture: Architecture, config: Mapping[str, Any]) -> int:
    """Number of positions in the config.

    Raises:
        BrokenCheckpointError: the config has no such number.
    """
    return _size(config, architecture.family.keys.positions)


def dense(family: Family, config: Mapping[str, Any]) -> LayerSize:
    """The config's global sizes, of layers without an entry in `per_layer_config`."""
    keys = family.keys
    heads, times = _size(config, keys.heads), keys.times_hidden
    channels = times * _size(config, keys.hidden) if times else None
    return LayerSize(
        heads=heads,
        kv_heads=_kv_heads(family, family.completed(config), config, heads, heads),
        channels=_size(config, keys.channels, default=channels),
    )


def overrides(family: Family, size: LayerSize) -> dict[str, int]:
    """A layer's sizes by the family's config keys."""
    keys = family.keys
    named = {keys.channels: size.channels, keys.heads: size.heads}
    if keys.kv_heads:
        named[keys.kv_heads] = size.kv_heads
    return named


def _kv_heads(
    family: Family, config: Mapping[str, Any], own: Mapping[str, Any], heads: int, default: int
) -> int:
    """KV heads of a layer: from its `own` keys, unless the family fixes their number."""
    if family.one_kv_head and family.one_kv_head(config):
        return 1
    key = family.keys.kv_heads
    return heads if key is None else _size(own, key, default=default)


def _family(config: Mapping[str, Any]) -> Family:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(sorted((*FAMILIES, *READ_AS_ANOTHER)))
        more = OTHERS.get(model_type) if isinstance(model_type, str) else None
        if not more and config.get("auto_map"):
            more = "it needs code from the model's folder, which is never run"
        raise UnsupportedModelError(
            f"config.json: model_type {model_type!r} is not supported" + (f": {more}" * bool(more)),
            hint=f"supported families: {known}",
        )
    return FAMILIES[model_type]


def _check_variant(family: Family, config: Mapping[str, Any]) -> None:
    """Refuse variants of a family that cannot be pruned."""
    for condition, reason in family.refusals:
        if condition(config):
            raise UnsupportedModelError(
                f"config.json: this {family.prefix} model cannot be pruned: {reason}",
                hint="choose another model of the family",
            )


def _overrides(config: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The content of `per_layer_config` by layer; transformers pads its keys with zeros."""
    given = config.get("per_layer_config") or {}
    try:
        return {int(key): dict(values) for key, values in given.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BrokenCheckpointError(
            "config.json: per_layer_config is not a mapping of layer numbers to sizes",
            hint="download the model's config.json again",
        ) from error


def _layer_size(
    given: Mapping[int, Mapping[str, Any]],
    index: int,
    family: Family,
    config: Mapping[str, Any],
    whole: LayerSize,
) -> LayerSize:
    """The layer's sizes in `per_layer_config`, else the global ones."""
    own, keys = given.get(index, {}), family.keys
    heads = _size(own, keys.heads, default=whole.heads)
    size = LayerSize(
        heads=heads,
        kv_heads=_kv_heads(family, config, own, heads, whole.kv_heads),
        channels=_size(own, keys.channels, default=whole.channels),
    )
    if size.heads % size.kv_heads:
        raise BrokenCheckpointError(
            f"config.json: layer {index} has {size.heads} query heads and {size.kv_heads} KV heads",
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


def _row(model_type: str) -> Family:
    return FAMILIES[model_type]


def _by_name(family: Family) -> tuple[Any, tuple[str]]:
    assert FAMILIES[family.model_type] is family, "experts are of no family that can be named"
    return _row, (family.model_type,)


# A row holds functions, which other processes cannot be sent: they look it up.
copyreg.pickle(Family, _by_name)
