"""Which architecture of llama.cpp computes a model, and the numbers that describe it there.

`deci` and `openelm` are the two that have heads, KV heads and FFN widths for every layer. `deci` is
Llama's computation, with optional biases, its queries and keys turned by neighbouring pairs;
`openelm` has norms over queries and keys and ties its head to the embedding. Imports neither torch
nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from slimgpt.checkpoints import rope
from slimgpt.checkpoints.architecture import Architecture
from slimgpt.formats.classes import uniform_size

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "granite", "phi3")
ROPES = ("default", "linear", "llama3")


@dataclass(frozen=True)
class Blueprint:
    """How llama.cpp shall compute a model.

    Attributes:
        name: of the architecture in llama.cpp.
        permuted: rows of queries and keys are stored as pairs.
        fused: queries, keys and values are one tensor.
        context: positions for which it computes what transformers computes.
        rope: settings of rotary positions, `rope_parameters` of transformers 5.
        scales: factors of weights, by their names in the file: what the model multiplies by as it
            runs, and this architecture does not.
    """

    name: Literal["deci", "openelm", "qwen3"]
    permuted: bool
    fused: bool
    context: int
    rope: Mapping[str, Any]
    scales: Mapping[str, float] = field(default_factory=dict)


def obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why llama.cpp cannot compute the model; empty if it can."""
    family = architecture.family
    if family.model_type not in FAMILIES:
        return (
            f"GGUF files of {family.model_type} are not written; these are: {', '.join(FAMILIES)}"
        )
    if config.get("hidden_act", "silu") != "silu":
        return f"its activation is {config['hidden_act']}, llama.cpp's is silu"
    if reason := _rope_obstacle(_rope(architecture, config)):
        return reason
    if family.head_norms and family.biases(config):
        return "llama.cpp has no layers with both norms and biases of queries and keys"
    if family.head_norms and not architecture.tied and not uniform_size(architecture.sizes):
        return (
            "llama.cpp has norms of queries and keys in layers that differ only where the head is "
            "tied to the embedding, and this model has a head of its own"
        )
    return ""


def _rope_obstacle(settings: Mapping[str, Any]) -> str:
    kind = settings["rope_type"]
    if kind not in ROPES:
        return f"its rotary positions are scaled by {kind}; {', '.join(ROPES)} are written"
    if settings.get("partial_rotary_factor", 1.0) != 1.0:
        return "llama.cpp turns the whole width of a head in such layers, and this model a part"
    return ""


def draw(architecture: Architecture, config: Mapping[str, Any]) -> Blueprint:
    """The blueprint of a model that has no `obstacle`."""
    positions = int(config[architecture.family.keys.positions])
    settings = _rope(architecture, config)
    if not architecture.family.head_norms:
        scales = _scales(architecture, config)
        return Blueprint("deci", True, False, min(positions, _window(config)), settings, scales)
    if architecture.tied:
        return Blueprint("openelm", False, True, min(positions, _window(config)), settings)
    return Blueprint("qwen3", False, False, min(positions, _window(config)), settings)


def _scales(architecture: Architecture, config: Mapping[str, Any]) -> Mapping[str, float]:
    """Granite's multipliers (transformers, `modeling_granite.py`): a Llama's weights times them."""
    if architecture.family.model_type != "granite":
        return {}
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
    """Llama 3's: by what every frequency is divided (transformers, `modeling_rope_utils.py`)."""
    factor, original = settings["factor"], settings["original_max_position_embeddings"]
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    factors = []
    for index in range(0, head_dim, 2):
        turns = original / (2 * math.pi * settings["rope_theta"] ** (index / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _rope(architecture: Architecture, config: Mapping[str, Any]) -> Mapping[str, Any]:
    told: Mapping[str, Any] = rope.written(config, architecture.family)["rope_parameters"]
    return told


def _window(config: Mapping[str, Any]) -> int:
    """Tokens up to which a sliding window leaves nothing out; `deci` has no such windows."""
    if config.get("use_sliding_window", True) and config.get("sliding_window"):
        return int(config["sliding_window"])
    return 1 << 40
