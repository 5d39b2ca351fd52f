"""Writes a GGUF file: metadata, tokenizer and tensors, layers of any size.

llama.cpp's own converter supports only layers of one size, although llama.cpp itself supports any.
Each layer is read, converted and written before the next is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import UnsupportedModelError
from slimgpt.formats.gguf import hyperparameters, metadata
from slimgpt.formats.gguf import tensors as parts
from slimgpt.formats.gguf.hyperparameters import Hyperparameters
from slimgpt.formats.gguf.tensors import Rows
from slimgpt.formats.gguf.vocabulary import Vocabulary, read
from slimgpt.machine import disk
from slimgpt.spec.prune import GgufType
from slimgpt.texts.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    import gguf
    import numpy as np

PHI_3 = re.compile("phi-?3", re.IGNORECASE)
SPECIAL = {"</s>", "<unk>", "<s>", "<|endoftext|>"}
OWN_TYPE: dict[str, GgufType] = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
ROUTER = "ffn_gate_inp"  # stored in float32, as by llama.cpp's converter
Q8_BLOCK = 32  # weights of a row that share a scale


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of the GGUF file: name, shape (out, in), and stored type."""

    name: str
    shape: tuple[int, ...]
    type: GgufType


def type_of(checkpoint: Checkpoint, asked: GgufType | None) -> GgufType:
    """The type of the file's matrices: the requested one, or the model's own precision."""
    return asked or OWN_TYPE[checkpoint.architecture.dtype]


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """The model's tokenizer for llama.cpp.

    Raises:
        UnsupportedModelError: the model has none, or llama.cpp does not support it.
    """
    tokenizer = Tokenizer.load(checkpoint.folder)
    return read(tokenizer.inner, checkpoint.architecture.vocabulary)


def write(checkpoint: Checkpoint, file: Path, stored: GgufType, name: str = "model") -> None:
    """Write a model and its tokenizer as one GGUF file.

    Args:
        name: display name of the model; empty: the name of its folder or repository.
        stored: type of matrices; norms and biases are f32. In a `q8_0` file, matrices whose row
            length is not a multiple of 32 are f16.

    Raises:
        UnsupportedModelError: llama.cpp cannot run the model, or read its tokenizer.
        StorageError: the disk is full.
    """
    if reason := hyperparameters.obstacle(checkpoint.architecture, checkpoint.config):
        raise UnsupportedModelError(
            f"format `gguf`: {reason}", hint="remove `gguf` from the formats"
        )
    plan = hyperparameters.blueprint(checkpoint.architecture, checkpoint.config)
    vocabulary = read_vocabulary(checkpoint)
    entries = list(_entries(checkpoint, plan, stored))
    needed = sum(_byte_count(entry) for entry in entries)
    called = name_for(checkpoint, vocabulary, name)

    def fill(aside: Path) -> None:
        _fill(aside, called, checkpoint, plan, vocabulary, entries)

    disk.write_atomically(file, needed, fill)


def _fill(
    file: Path,
    model_name: str,
    checkpoint: Checkpoint,
    plan: Hyperparameters,
    vocabulary: Vocabulary,
    entries: list[TensorEntry],
) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, plan.build.name)
    stored = max((entry.type for entry in entries), key=_rank)
    metadata.describe(writer, checkpoint.architecture, plan, stored)
    writer.add_name(model_name)
    metadata.add_vocabulary(writer, vocabulary)
    kinds = {"f32": np.float32, "f16": np.float16}
    for entry in entries:
        if entry.type in kinds:
            dtype = np.dtype(kinds[entry.type])
            writer.add_tensor_info(entry.name, entry.shape, dtype, _byte_count(entry))
        else:
            raw = _ggml(entry.type)
            shape = gguf.quant_shape_to_byte_shape(entry.shape, raw)
            size = _byte_count(entry)
            writer.add_tensor_info(entry.name, shape, np.dtype(np.uint8), size, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    types = {entry.name: entry.type for entry in entries}
    for name, tensor in _tensors(checkpoint, plan):
        writer.write_tensor_data(_stored(tensor, types[name]))
    writer.close()


def name_for(checkpoint: Checkpoint, vocabulary: Vocabulary, name: str) -> str:
    """The model's display name, by which llama.cpp recognises Phi-3's special tokens.

    If the name contains Phi-3, llama.cpp strips the space after these tokens, and fails if they are
    missing (`src/llama-vocab.cpp`).
    """
    name = PHI_3.sub("phi", name or _title(checkpoint.folder))
    if checkpoint.architecture.family.model_type == "phi3" and {*vocabulary.tokens} >= SPECIAL:
        return f"Phi-3 {name}"
    return name


def _title(folder: Path) -> str:
    """A folder's name; the repository's name in the hub's cache, without a temporary suffix."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rpartition("--")[2]
    return folder.name.removeprefix(".").partition(".")[0] if folder.name[0] == "." else folder.name


def _entries(
    checkpoint: Checkpoint, plan: Hyperparameters, stored: GgufType
) -> Iterator[TensorEntry]:
    """The file's tensors in order, with shapes from the checkpoint."""
    for name, made_of in _sources(checkpoint, plan):
        shapes = [checkpoint.tensors[part.name].shape for part in made_of]
        rows = sum(part.rows or shape[0] for part, shape in zip(made_of, shapes, strict=True))
        shape = (rows, *shapes[0][1:])
        if _of_experts(name):
            shape = (len(made_of), rows // len(made_of), *shapes[0][1:])
        yield _entry(name, shape, stored)
    if plan.rope["rope_type"] == "llama3":
        yield TensorEntry("rope_freqs.weight", (checkpoint.architecture.head_dim // 2,), "f32")


def _entry(name: str, shape: tuple[int, ...], stored: GgufType) -> TensorEntry:
    if len(shape) == 1 or _module(name) == ROUTER:
        return TensorEntry(name, shape, "f32")
    if stored == "q8_0" and shape[-1] % Q8_BLOCK:
        return TensorEntry(name, shape, "f16")
    return TensorEntry(name, shape, stored)


def _tensors(checkpoint: Checkpoint, plan: Hyperparameters) -> Iterator[tuple[str, Tensor]]:
    """The file's tensors in order, as float32, each read when needed."""
    architecture = checkpoint.architecture
    for name, made_of in _sources(checkpoint, plan):
        loaded = checkpoint.load([part.name for part in made_of])
        tensors = [part.of(loaded[part.name]).float() for part in made_of]
        made = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        if _of_experts(name):
            made = made.reshape(len(made_of), -1, *made.shape[1:])
        if plan.build.permuted:
            made = _paired(name, made, architecture.sizes)
        if plan.build.shift and _module(name).endswith("norm"):
            made = made + plan.build.shift
        scale = plan.scales.get(_module(name), 1.0)
        yield name, made if scale == 1.0 else made * scale
    if plan.rope["rope_type"] == "llama3":
        factors = hyperparameters.rope_factors(plan.rope, architecture.head_dim)
        yield "rope_freqs.weight", torch.tensor(factors)


def _sources(checkpoint: Checkpoint, plan: Hyperparameters) -> Iterator[tuple[str, list[Rows]]]:
    """Tensor names in the file, each with the checkpoint's tensors that are stacked into it."""
    architecture = checkpoint.architecture
    family = architecture.family
    yield "token_embd.weight", [Rows(f"{family.embedding}.weight")]
    for index, size in enumerate(architecture.sizes):
        for theirs, ours in parts.of_layer(architecture, size, fused=plan.build.fused).items():
            for kind in ("weight", "bias"):
                named = [part.named(f"{family.layers}.{index}.{part.name}.{kind}") for part in ours]
                if all(part.name in checkpoint.tensors for part in named):
                    yield f"blk.{index}.{theirs}.{kind}", named
    yield "output_norm.weight", [Rows(f"{family.final_norm}.weight")]
    if not architecture.tied:
        yield "output.weight", [Rows(f"{family.head}.weight")]
    elif "output" in plan.scales:  # scaled differently from the tied embedding
        yield "output.weight", [Rows(f"{family.embedding}.weight")]


def _module(name: str) -> str:
    """`attn_q` of `blk.0.attn_q.weight`."""
    return name.split(".")[-2]


def _of_experts(name: str) -> bool:
    return _module(name).endswith(parts.EXPERTS)


def _paired(name: str, tensor: Tensor, sizes: Sequence[LayerSize]) -> Tensor:
    """Rows of queries and keys in llama.cpp's rotary order: pairs are neighbours, not halves."""
    _, _, place = name.partition("blk.")
    index, _, module = place.rpartition(".")[0].partition(".")
    if module not in ("attn_q", "attn_k"):
        return tensor
    size = sizes[int(index)]
    heads = size.heads if module == "attn_q" else size.kv_heads
    pairs = tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2)
    return pairs.reshape(tensor.shape)


def _stored(tensor: Tensor, kind: GgufType) -> np.ndarray[Any, Any]:
    import gguf

    made: np.ndarray[Any, Any] = gguf.quantize(tensor.numpy(), _ggml(kind))
    return made


def _ggml(kind: GgufType) -> gguf.GGMLQuantizationType:
    import gguf

    return gguf.GGMLQuantizationType[kind.upper()]


def _byte_count(entry: TensorEntry) -> int:
    import gguf

    return math.prod(gguf.quant_shape_to_byte_shape(entry.shape, _ggml(entry.type)))


def _rank(kind: GgufType) -> int:
    return ("f32", "f16", "bf16", "q8_0").index(kind)
