"""Checkpoints with other tensor names than their family's (old GPT-2 and OPT, Baichuan), remapped.

Old GPT-2 and OPT files leave out the name of the body. Baichuan-7B is a Llama whose queries, keys
and values are one tensor, and whose code ships with the model; none of it is run, and what is
written is a Llama. Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.header import FORMATS, TensorInfo
from slimgpt.errors import UnsupportedModelError

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
    """The stored tensors by the names that the family has for them."""
    body, embedding = read.family.body, f"{read.family.embedding}.weight"
    short = embedding.removeprefix(f"{body}.")
    named = dict(stored)
    if embedding not in stored and short in stored:
        head = f"{read.family.head}.weight"
        named = {n if n == head else f"{body}.{n}": info for n, info in stored.items()}
    for name in [name for name in named if name.endswith(PACKED)]:
        named |= _unpacked(name.removesuffix("W_pack.weight"), named.pop(name))
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
