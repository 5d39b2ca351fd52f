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
    """An architecture of llama.cpp and its properties.

    Attributes:
        name: the architecture's name in llama.cpp.
        one_size: all layers have the same number of heads and FFN width.
        permuted: rows of queries and keys are stored as neighbouring pairs.
        fused: queries, keys and values are one tensor.
        shift: constant that transformers adds to norm weights at run time and llama.cpp does not.
        windows: supports sliding windows in some layers. For the others, the context length is
            limited to the window.
        largest: number of layers by which llama.cpp recognises the family's largest model, whose
            attention it scales by another rule; 0: none.
        activations: transformers' names of its activation function.
        ropes: supported types of rotary positions.
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
SPANNING = "llama.cpp requires heads × width to be the hidden size, so that no head can be removed"
NONE = {
    "olmo2": SPANNING,
    "stablelm": SPANNING,
    "gpt_neox": SPANNING,
    "gpt2": SPANNING,
    "falcon": SPANNING,
    "opt": "llama.cpp has no architecture for opt",
}
"""Families that llama.cpp cannot run after pruning, with the reason."""


def of(architecture: Architecture) -> LlamaCppArchitecture:
    """The llama.cpp architecture of a model; its family must be in `ARCHITECTURES`."""
    kind = architecture.family.model_type
    return OWN_HEAD_NORMS if kind == "qwen3" and not architecture.tied else ARCHITECTURES[kind]


def variant_obstacle(architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why the family's llama.cpp architecture does not fit this model; empty if it does."""
    kind = architecture.family.model_type
    if kind == "qwen3_moe" and not config["norm_topk_prob"]:
        return "llama.cpp normalises the experts' weights, this model does not (norm_topk_prob)"
    if kind == "gemma2" and not architecture.tied:
        return "llama.cpp ties the head to the embedding, this model has an untied head"
    caps = [config.get(f"{where}_logit_softcapping") for where in ("attn", "final")]
    if kind == "gemma2" and not all(caps):
        return "llama.cpp caps the logits of attention and head, this model does not"
    if kind == "gemma3_text" and caps[0]:
        return "llama.cpp does not cap attention logits in this family, this model does"
    return ""
