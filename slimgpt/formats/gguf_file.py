"""`gguf`: one file for llama.cpp, weights and tokenizer, layers of any size.

The stock converter knows layers of one size only; llama.cpp itself does not mind. A layer is read,
turned and written before the next is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slimgpt import disk
from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.config import GgufType
from slimgpt.errors import UnsupportedModelError
from slimgpt.formats import blueprint
from slimgpt.formats.blueprint import Blueprint
from slimgpt.formats.vocabulary import Vocabulary, read
from slimgpt.texts.tokenizer import Tokenizer

if TYPE_CHECKING:
    import gguf
    import numpy as np

OWN_TYPE: dict[str, GgufType] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
Q8_BLOCK = 32  # weights of a row that share a scale


@dataclass(frozen=True)
class Piece:
    """A tensor of the file to be: its name there, shape (out, in), and stored type."""

    name: str
    shape: tuple[int, ...]
    type: GgufType


def type_of(checkpoint: Checkpoint, asked: GgufType | None) -> GgufType:
    """The type of the file's matrices: as asked, or the model's own precision."""
    return asked or OWN_TYPE[checkpoint.architecture.dtype]


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """The model's tokenizer for llama.cpp.

    Raises:
        UnsupportedModelError: there is none, or llama.cpp has none like it.
    """
    tokenizer = Tokenizer.load(checkpoint.folder)
    return read(tokenizer.inner, checkpoint.architecture.vocabulary)


def write(checkpoint: Checkpoint, file: Path, stored: GgufType) -> None:
    """Write a model and its tokenizer as one GGUF file.

    Args:
        stored: type of matrices; norms and biases are f32. A matrix whose rows are no multiple of
            32 is f16 in a file of `q8_0`.

    Raises:
        UnsupportedModelError: llama.cpp cannot compute the model, or read its tokenizer.
        StorageError: the disk is full.
    """
    if reason := blueprint.obstacle(checkpoint.architecture, checkpoint.config):
        raise UnsupportedModelError(f"format `gguf`: {reason}", hint="leave format `gguf` out")
    plan = blueprint.draw(checkpoint.architecture, checkpoint.config)
    vocabulary = read_vocabulary(checkpoint)
    pieces = list(_pieces(checkpoint, plan, stored))
    needed = sum(_byte_count(piece) for piece in pieces)
    disk.write_aside(file, needed, lambda aside: _fill(aside, checkpoint, plan, vocabulary, pieces))


def _fill(
    file: Path,
    checkpoint: Checkpoint,
    plan: Blueprint,
    vocabulary: Vocabulary,
    pieces: list[Piece],
) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, plan.name)
    _describe(writer, checkpoint, plan, max((p.type for p in pieces), key=_rank))
    _add_vocabulary(writer, vocabulary)
    kinds = {"f32": np.float32, "f16": np.float16}
    for piece in pieces:
        if piece.type in kinds:
            dtype = np.dtype(kinds[piece.type])
            writer.add_tensor_info(piece.name, piece.shape, dtype, _byte_count(piece))
        else:
            raw = _ggml(piece.type)
            shape = gguf.quant_shape_to_byte_shape(piece.shape, raw)
            size = _byte_count(piece)
            writer.add_tensor_info(piece.name, shape, np.dtype(np.uint8), size, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    types = {piece.name: piece.type for piece in pieces}
    for name, tensor in _tensors(checkpoint, plan):
        writer.write_tensor_data(_stored(tensor, types[name]))
    writer.close()


def _describe(
    writer: gguf.GGUFWriter, checkpoint: Checkpoint, plan: Blueprint, stored: GgufType
) -> None:
    """The numbers of the architecture; lists of them where layers differ."""
    import gguf

    architecture, config = checkpoint.architecture, checkpoint.config
    sizes = architecture.sizes
    one = plan.name == "qwen3"
    writer.add_name(checkpoint.folder.name)
    writer.add_file_type(_file_type(stored))
    writer.add_context_length(plan.context)
    writer.add_embedding_length(architecture.hidden)
    writer.add_block_count(architecture.layers)
    writer.add_vocab_size(architecture.vocabulary)
    writer.add_head_count(sizes[0].heads if one else [size.heads for size in sizes])
    writer.add_head_count_kv(sizes[0].kv_heads if one else [size.kv_heads for size in sizes])
    writer.add_feed_forward_length(sizes[0].channels if one else [size.channels for size in sizes])
    writer.add_key_length(architecture.head_dim)
    writer.add_value_length(architecture.head_dim)
    writer.add_rope_dimension_count(architecture.head_dim)
    writer.add_rope_freq_base(float(plan.rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    if plan.rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(plan.rope["factor"]))


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.add_space)
    else:
        writer.add_token_merges(vocabulary.merges)
    for name, number in vocabulary.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(vocabulary.add_begin)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _pieces(checkpoint: Checkpoint, plan: Blueprint, stored: GgufType) -> Iterator[Piece]:
    """The file's tensors in their order, by the shapes that the checkpoint says."""
    for name, parts in _sources(checkpoint, plan):
        shapes = [checkpoint.tensors[part].shape for part in parts]
        rows = sum(shape[0] for shape in shapes)
        yield _piece(name, (rows, *shapes[0][1:]), stored)
    if plan.rope["rope_type"] == "llama3":
        yield Piece("rope_freqs.weight", (checkpoint.architecture.head_dim // 2,), "f32")


def _piece(name: str, shape: tuple[int, ...], stored: GgufType) -> Piece:
    if len(shape) == 1:
        return Piece(name, shape, "f32")
    if stored == "q8_0" and shape[-1] % Q8_BLOCK:
        return Piece(name, shape, "f16")
    return Piece(name, shape, stored)


def _tensors(checkpoint: Checkpoint, plan: Blueprint) -> Iterator[tuple[str, Tensor]]:
    """The file's tensors in their order, each float32, read when it is its turn."""
    architecture = checkpoint.architecture
    for name, parts in _sources(checkpoint, plan):
        loaded = checkpoint.load(parts)
        tensors = [
            _paired(part, loaded[part].float(), checkpoint) if plan.permuted else
            loaded[part].float()
            for part in parts
        ]  # fmt: skip
        made = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        yield name, made * plan.scales.get(name.split(".")[-2], 1.0)
    if plan.rope["rope_type"] == "llama3":
        factors = blueprint.rope_factors(plan.rope, architecture.head_dim)
        yield "rope_freqs.weight", torch.tensor(factors)


def _sources(checkpoint: Checkpoint, plan: Blueprint) -> Iterator[tuple[str, list[str]]]:
    """Names in the file, each with the checkpoint's tensors that it is made of, one below other."""
    architecture = checkpoint.architecture
    family = architecture.family
    yield "token_embd.weight", [f"{family.embedding}.weight"]
    names = _names(plan, checkpoint)
    for index in range(architecture.layers):
        for theirs, ours in names.items():
            parts = [f"{family.layers}.{index}.{name}" for name in ours]
            if all(part in checkpoint.tensors for part in parts):
                yield f"blk.{index}.{theirs}", parts
    yield "output_norm.weight", [f"{family.final_norm}.weight"]
    if not architecture.tied:
        yield "output.weight", [f"{family.head}.weight"]
    elif plan.scales:  # which make two matrices of the one
        yield "output.weight", [f"{family.embedding}.weight"]


def _names(plan: Blueprint, checkpoint: Checkpoint) -> dict[str, list[str]]:
    """A layer's tensors in llama.cpp, and ours."""
    family = checkpoint.architecture.family
    gate, up = family.wide
    modules = {
        "attn_norm": [family.attention_norm],
        "attn_q": [family.query],
        "attn_k": [family.key],
        "attn_v": [family.value],
        "attn_output": [family.output],
        "ffn_norm": [family.ffn_norm],
        "ffn_gate": [gate],
        "ffn_up": [up],
        "ffn_down": [family.down],
    }
    if family.head_norms:
        modules["attn_q_norm"], modules["attn_k_norm"] = ([name] for name in family.head_norms)
    if plan.fused:
        parts = [modules.pop(name)[0] for name in ("attn_q", "attn_k", "attn_v")]
        modules["attn_qkv"] = parts
    return {
        f"{theirs}.{kind}": [f"{name}.{kind}" for name in ours]
        for theirs, ours in modules.items()
        for kind in ("weight", "bias")
    }


def _paired(name: str, tensor: Tensor, checkpoint: Checkpoint) -> Tensor:
    """Rows of queries and keys as llama.cpp turns them: neighbours, not halves, are a pair."""
    architecture = checkpoint.architecture
    family, start = architecture.family, f"{architecture.family.layers}."
    if not name.startswith(start):
        return tensor
    index, _, within = name.removeprefix(start).partition(".")
    heads = _heads(within, architecture.sizes[int(index)], family.query, family.key)
    if heads is None:
        return tensor
    pairs = tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2)
    return pairs.reshape(tensor.shape)


def _heads(name: str, size: LayerSize, query: str, key: str) -> int | None:
    module = name.rpartition(".")[0]
    return {query: size.heads, key: size.kv_heads}.get(module)


def _stored(tensor: Tensor, kind: GgufType) -> np.ndarray[Any, Any]:
    import gguf

    made: np.ndarray[Any, Any] = gguf.quantize(tensor.numpy(), _ggml(kind))
    return made


def _ggml(kind: GgufType) -> gguf.GGMLQuantizationType:
    import gguf

    return gguf.GGMLQuantizationType[kind.upper()]


def _byte_count(piece: Piece) -> int:
    import gguf

    return math.prod(gguf.quant_shape_to_byte_shape(piece.shape, _ggml(piece.type)))


def _file_type(stored: GgufType) -> int:
    import gguf

    names: Mapping[GgufType, str] = {
        "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"
    }  # fmt: skip
    return int(gguf.LlamaFileType[names[stored]])


def _rank(kind: GgufType) -> int:
    return ("f32", "f16", "bf16", "q8_0").index(kind)
