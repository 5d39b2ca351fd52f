"""Mapping from model families to llama.cpp architectures, one row of data each.

Source: llama.cpp, `src/models/*.cpp`. Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slimgpt.checkpoints.families.architecture import Architecture

Name = Literal["deci", "openelm", "qwen3", "llama", "qwen3moe", "gemma2", "gemma3"]
SILU, GELU = ("silu", "swish"), ("gelu_pytorch_tanh",)


@dataclass(frozen=True)
class LlamaCppArchitecture:
    """How llama.cpp computes a family.

    Attributes:
        name: of the architecture in llama.cpp.
        one_size: it reads one number of heads and one width for all layers.
        permuted: rows of queries and keys are stored as pairs.
        fused: queries, keys and values are one tensor.
        shift: what norms add to their weights as transformers runs, and llama.cpp does not.
        windows: it has sliding windows in some layers; the others end before a window matters.
        largest: number of layers by which it knows the family's largest model, whose attention it
            scales by another rule; 0: none.
        activations: of transformers that are its own.
        ropes: kinds of rotary positions.
    """

    name: Name
    one_size: bool = False
    permuted: bool = False
    fused: bool = False
    shift: float = 0.0
    windows: bool = False
    largest: int = 0
    activations: tuple[str, ...] = SILU
    ropes: tuple[str, ...] = ("default", "linear", "llama3")


PLAIN = LlamaCppArchitecture("deci", permuted=True)
TIED_NORMS = LlamaCppArchitecture("openelm", fused=True)
OWN_HEAD_NORMS = LlamaCppArchitecture("qwen3", one_size=True)
ARCHITECTURES = {
    "llama": PLAIN,
    "mistral": PLAIN,
    "qwen2": PLAIN,
    "qwen3": TIED_NORMS,  # OWN_HEAD_NORMS where the head is not tied to the embedding
    "granite": PLAIN,
    "phi3": PLAIN,
    "mixtral": LlamaCppArchitecture("llama", one_size=True, permuted=True),
    "qwen3_moe": LlamaCppArchitecture("qwen3moe", one_size=True, ropes=("default", "linear")),
    "gemma2": LlamaCppArchitecture(
        "gemma2", True, shift=1.0, windows=True, largest=46, activations=GELU, ropes=("default",)
    ),
    "gemma3_text": LlamaCppArchitecture(
        "gemma3",
        True,
        shift=1.0,
        windows=True,
        largest=62,
        activations=GELU,
        ropes=("default", "linear"),
    ),
}
SPANNING = "its heads span the hidden size in llama.cpp, so that none can have left"
NONE = {
    "olmo2": SPANNING,
    "stablelm": SPANNING,
    "gpt_neox": SPANNING,
    "gpt2": SPANNING,
    "falcon": SPANNING,
    "opt": "llama.cpp has no architecture like opt",
}
"""Families that llama.cpp cannot compute once they are pruned, and why."""


def of(architecture: Architecture) -> LlamaCppArchitecture:
    """The build of a family's model that has one."""
    kind = architecture.family.model_type
    return OWN_HEAD_NORMS if kind == "qwen3" and not architecture.tied else ARCHITECTURES[kind]


def variant_obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why the build of a family does not fit this member; empty if it does."""
    kind = architecture.family.model_type
    if kind == "qwen3_moe" and not config["norm_topk_prob"]:
        return "llama.cpp lets an expert's weights add up to 1, and this model does not"
    if kind == "gemma2" and not architecture.tied:
        return "llama.cpp ties the head to the embedding, and this model has a head of its own"
    caps = [config.get(f"{where}_logit_softcapping") for where in ("attn", "final")]
    if kind == "gemma2" and not all(caps):
        return "llama.cpp caps logits of attention and of the head, and this model does not"
    if kind == "gemma3_text" and caps[0]:
        return "llama.cpp caps no logits of attention here, and this model does"
    return ""
