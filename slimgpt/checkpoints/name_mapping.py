"""Checkpoints with other tensor names than their family's (old GPT-2 and OPT, Baichuan), remapped.

Old GPT-2 and OPT files leave out the name of the body. Whoever saves a model that is wrapped
(torch.compile, FSDP, DDP, PEFT) has the wrapper's name in all of its tensors'. Baichuan-7B is a
Llama whose queries, keys and values are one tensor, and whose code ships with the model; none of it
is run, and what is written is a Llama. Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.safetensors_header import FORMATS, TensorInfo
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError
from slimgpt.sources import adapters

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What torch.compile, FSDP and activation checkpointing put into names, at any place."""
BAICHUAN = "baichuan"
PACKED = ".self_attn.W_pack.weight"
BAICHUAN_2_VOCABULARY = 125_696


def config(given: dict[str, Any]) -> dict[str, Any]:
    """The config as the family has it that the model belongs to.

    Raises:
        UnsupportedModelError: a Baichuan that is no Llama.
    """
    if given.get("model_type") != BAICHUAN:
        return given
    if given.get("max_position_embeddings") is None or given.get("hidden_size") == 5120:
        raise _refused("Baichuan-13B", "its positions are ALiBi slopes, which no Llama has")
    if given.get("vocab_size") == BAICHUAN_2_VOCABULARY:
        raise _refused("Baichuan2", "its output head is normalised as it runs, which no Llama's is")
    kept = {
        key: value for key, value in given.items() if key not in ("auto_map", "tokenizer_class")
    }
    return kept | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def tensors(stored: Mapping[str, TensorInfo], read: Architecture) -> dict[str, TensorInfo]:
    """The stored tensors by the names that the family has for them.

    Raises:
        UnsupportedModelError: there are an adapter's tensors among them.
        BrokenCheckpointError: two tensors have one name but for what wrapped the model.
    """
    adapters.refuse_tensors(stored)
    body, embedding = read.family.body, f"{read.family.embedding}.weight"
    short = embedding.removeprefix(f"{body}.")
    named = _unwrapped(stored, (embedding, short))
    if embedding not in named and short in named:
        head = f"{read.family.head}.weight"
        named = {n if n == head else f"{body}.{n}": info for n, info in named.items()}
    for name in [name for name in named if name.endswith(PACKED)]:
        named |= _unpacked(name.removesuffix("W_pack.weight"), named.pop(name))
    return named


def _unwrapped(
    stored: Mapping[str, TensorInfo], embeddings: tuple[str, ...]
) -> dict[str, TensorInfo]:
    """Names without a wrapper's: parts anywhere, and whatever all begin with before the embedding.

    Args:
        embeddings: what the embedding is called, the longer name first.
    """
    named: dict[str, TensorInfo] = {}
    for name, info in stored.items():
        plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if plain in named:
            raise BrokenCheckpointError(
                f"{plain} is stored twice, as {named[plain].name} and as {name}",
                hint="files of two models may be mixed: save or download the model again",
            )
        named[plain] = info
    if named.keys().isdisjoint(embeddings):
        for embedding in embeddings:
            for name in [name for name in named if name.endswith(f".{embedding}")]:
                prefix = name.removesuffix(embedding)
                if all(one.startswith(prefix) for one in named):
                    return {one.removeprefix(prefix): info for one, info in named.items()}
    return named


def _unpacked(prefix: str, packed: TensorInfo) -> dict[str, TensorInfo]:
    """Queries, keys and values as thirds of the rows of one tensor."""
    if len(packed.shape) != 2 or packed.shape[0] % 3:
        return {packed.name: packed}
    count = packed.shape[0] // 3
    width = next(size for name, size in FORMATS.values() if name == packed.dtype)
    shape = (count, *packed.shape[1:])
    return {
        f"{prefix}{name}.weight": replace(
            packed,
            shape=shape,
            offset=packed.offset + third * math.prod(shape) * width,
            rows=(third * count, (third + 1) * count),
        )
        for third, name in enumerate(("q_proj", "k_proj", "v_proj"))
    }


def _refused(model: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"config.json: this {model} model cannot be pruned: {reason}",
        hint="of the Baichuan models, Baichuan-7B can be pruned",
    )
