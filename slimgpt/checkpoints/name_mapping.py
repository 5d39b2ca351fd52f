"""Maps the tensor names of a checkpoint to the names of its family.

Old GPT-2 and OPT files omit the body's name prefix. Models saved while wrapped (torch.compile,
FSDP, DDP, PEFT) have the wrapper's name in all tensor names. Baichuan-7B is a Llama with queries,
keys and values in one tensor and with its own code, which is never run; the pruned model is written
as a Llama. Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.checkpoints.safetensors_header import TensorInfo
from slimgpt.errors import BrokenCheckpointError, UnsupportedModelError
from slimgpt.sources import adapters

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Name parts that torch.compile, FSDP and activation checkpointing insert anywhere."""
BAICHUAN = "baichuan"
PACKED = ".self_attn.W_pack.weight"
BAICHUAN_2_VOCABULARY = 125_696


def config(given: dict[str, Any]) -> dict[str, Any]:
    """The config, translated to the family that computes the model.

    Raises:
        UnsupportedModelError: a Baichuan model that is not equivalent to a Llama.
    """
    if given.get("model_type") != BAICHUAN:
        return given
    if given.get("max_position_embeddings") is None or given.get("hidden_size") == 5120:
        raise _refused("Baichuan-13B", "its positions are ALiBi slopes, which Llama does not have")
    if given.get("vocab_size") == BAICHUAN_2_VOCABULARY:
        raise _refused("Baichuan2", "it normalises its output head, which Llama does not")
    kept = {
        key: value for key, value in given.items() if key not in ("auto_map", "tokenizer_class")
    }
    return kept | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def tensors(stored: Mapping[str, TensorInfo], read: Architecture) -> dict[str, TensorInfo]:
    """The stored tensors by the family's names.

    Raises:
        UnsupportedModelError: some tensors belong to an adapter.
        BrokenCheckpointError: two tensors have the same name after wrapper names are removed.
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
    """Remove wrapper parts anywhere in names, and a prefix that all names share.

    Args:
        embeddings: possible names of the embedding, the longer first; they show the prefix.
    """
    named: dict[str, TensorInfo] = {}
    for name, info in stored.items():
        plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if plain in named:
            raise BrokenCheckpointError(
                f"{plain} is stored twice, as {named[plain].name} and as {name}",
                hint="the folder may mix files of two models: save or download the model again",
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
    """Split a packed tensor's rows into queries, keys and values."""
    if len(packed.shape) != 2 or packed.shape[0] % 3:
        return {packed.name: packed}
    count = packed.shape[0] // 3
    shape = (count, *packed.shape[1:])
    return {
        f"{prefix}{name}.weight": replace(
            packed,
            shape=shape,
            offset=packed.offset + third * packed.bytes // 3,
            rows=(third * count, (third + 1) * count),
        )
        for third, name in enumerate(("q_proj", "k_proj", "v_proj"))
    }


def _refused(model: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"config.json: this {model} model cannot be pruned: {reason}",
        hint="of the Baichuan models only Baichuan-7B is supported",
    )
