"""The llama.cpp architecture of a model, and its hyperparameters as GGUF keys.

`deci` and `openelm` are the two with heads, KV heads and FFN widths for every layer. `deci` is a
Llama with optional biases and rotary pairs of neighbouring rows; `openelm` has norms over
queries and keys and a tied head. The others require layers of one size. Imports neither torch nor
transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slimgpt.checkpoints.families import rope
from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.formats.gguf import architectures
from slimgpt.formats.gguf.architectures import LlamaCppArchitecture
from slimgpt.formats.stock_classes import uniform_size

PATTERN = {"gemma2": 2, "gemma3_text": 6}
"""Period of layers without a sliding window, if the config does not give it."""


@dataclass(frozen=True)
class Windows:
    """Sliding windows of attention.

    Attributes:
        width: window length in tokens.
        layers: for each layer, whether it has a window.
        theta: base of the rotary positions in these layers.
    """

    width: int
    layers: tuple[bool, ...]
    theta: float


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of a model in llama.cpp.

    Attributes:
        build: the llama.cpp architecture.
        context: number of positions for which llama.cpp and transformers compute the same.
        epsilon: of the norms.
        rope: settings of rotary positions, `rope_parameters` of transformers 5.
        scales: factors for weights, by tensor name in the file: multipliers that the model applies
            at run time and the llama.cpp architecture does not.
        windows: sliding windows; None if the file has none.
        caps: caps of attention logits and of output logits; 0: none.
        chosen: experts per token; 0: no experts.
    """

    build: LlamaCppArchitecture
    context: int
    epsilon: float
    rope: Mapping[str, Any]
    scales: Mapping[str, float] = field(default_factory=dict)
    windows: Windows | None = None
    caps: tuple[float, float] = (0.0, 0.0)
    chosen: int = 0


def obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why llama.cpp cannot run the model; empty if it can."""
    family = architecture.family
    if family.model_type not in architectures.ARCHITECTURES:
        return architectures.NONE.get(
            family.model_type, "export of this family to GGUF is not supported"
        )
    build, full = architectures.of(architecture), family.completed(config)
    return (
        architectures.variant_obstacle(architecture, full)
        or _rope_obstacle(build, _rope(architecture, full))
        or _layers_obstacle(architecture, build, full)
    )


def _layers_obstacle(
    architecture: Architecture, build: LlamaCppArchitecture, config: Mapping[str, Any]
) -> str:
    family = architecture.family
    activation = config.get("hidden_activation") or config.get("hidden_act")
    if activation not in build.activations:
        return f"its activation is {activation}, llama.cpp uses {build.activations[0]}"
    if (family.head_norms or build.shift) and family.biases(config):
        return "llama.cpp does not support biases of queries and keys together with these norms"
    if build.one_size and uniform_size(architecture.sizes) is None:
        why = " with an untied head" if build is architectures.OWN_HEAD_NORMS else ""
        return (
            f"llama.cpp supports {family.model_type}{why} only with layers of one size, and these "
            "differ; request format `uniform` too, which makes them the same"
        )
    return ""


def _rope_obstacle(build: LlamaCppArchitecture, settings: Mapping[str, Any]) -> str:
    kind = settings["rope_type"]
    if kind not in build.ropes:
        return f"its rope_type is {kind}; supported are {', '.join(build.ropes)}"
    if settings.get("partial_rotary_factor", 1.0) != 1.0:
        return "llama.cpp rotates the whole width of a head, this model a part of it"
    return ""


def blueprint(architecture: Architecture, config: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters of a model that has no `obstacle`."""
    full = architecture.family.completed(config)
    build, positions = architectures.of(architecture), int(full[architecture.family.keys.positions])
    caps = [float(full.get(f"{where}_logit_softcapping") or 0) for where in ("attn", "final")]
    return Hyperparameters(
        build,
        context=positions if build.windows else min(positions, _window(full)),
        epsilon=float(full["rms_norm_eps"]),
        rope=_rope(architecture, full),
        scales=_scales(architecture, build, full),
        windows=_windows(architecture, full) if build.windows else None,
        caps=(caps[0], caps[1]),
        chosen=int(full["num_experts_per_tok"]) if architecture.experts else 0,
    )


def _windows(architecture: Architecture, config: Mapping[str, Any]) -> Windows | None:
    """Gemma's sliding windows, with their own rotary positions."""
    kind, width = architecture.family.model_type, config.get("sliding_window")
    if not width:
        return None
    layer_types: Sequence[str] | None = config.get("layer_types")
    every = int(config.get("sliding_window_pattern") or PATTERN[kind])
    layers = [bool((index + 1) % every) for index in range(architecture.layers)]
    if layer_types:
        layers = [one == rope.SLIDING for one in layer_types]
    settings = rope.written(config, architecture.family)["rope_parameters"]
    theta = settings.get(rope.SLIDING, settings)["rope_theta"]
    return Windows(int(width), tuple(layers), float(theta))


def _scales(
    architecture: Architecture, build: LlamaCppArchitecture, config: Mapping[str, Any]
) -> Mapping[str, float]:
    """Factors for weights, by tensor name in the file."""
    if architecture.family.model_type == "granite":
        return _multipliers(architecture, config)
    if "query_pre_attn_scalar" not in config:
        return {}
    # Both divide queries by a square root: llama.cpp by that of the head width, or in the family's
    # largest model by that of hidden size / heads.
    theirs = architecture.head_dim
    if architecture.layers == build.largest:
        theirs = architecture.hidden // architecture.sizes[0].heads
    where = "attn_q_norm" if architecture.family.head_norms else "attn_q"
    return {where: math.sqrt(theirs / float(config["query_pre_attn_scalar"]))}


def _multipliers(architecture: Architecture, config: Mapping[str, Any]) -> Mapping[str, float]:
    """Granite's multipliers (transformers, `modeling_granite.py`), applied to a Llama's weights."""
    residual = float(config.get("residual_multiplier", 1.0))
    attention = float(config.get("attention_multiplier", 1.0))
    return {
        "token_embd": float(config.get("embedding_multiplier", 1.0)),
        "attn_q": attention * math.sqrt(architecture.head_dim),
        "attn_output": residual,
        "ffn_down": residual,
        "output": 1 / float(config.get("logits_scaling", 1.0)),
    }


def rope_factors(settings: Mapping[str, Any], head_dim: int) -> list[float]:
    """Divisors of Llama 3's rotary frequencies (transformers, `modeling_rope_utils.py`)."""
    factor, original = settings["factor"], settings["original_max_position_embeddings"]
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    factors = []
    for index in range(0, head_dim, 2):
        turns = original / (2 * math.pi * settings["rope_theta"] ** (index / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _rope(architecture: Architecture, config: Mapping[str, Any]) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = rope.written(config, architecture.family)["rope_parameters"]
    full: Mapping[str, Any] = settings.get(rope.FULL, settings)
    return full


def _window(config: Mapping[str, Any]) -> int:
    """Number of tokens up to which a sliding window has no effect."""
    if config.get("use_sliding_window", True) and config.get("sliding_window"):
        return int(config["sliding_window"])
    return 1 << 40
