"""Export to `uniform` and `padded`: stock transformers classes, no remote code.

Stock classes have the same number of heads and the same FFN width in all layers. `uniform` needs a
plan with layers of one size; `padded` fills other layers with zeros, which saves no memory or time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from slimgpt.checkpoints import safetensors_file, safetensors_header, shards
from slimgpt.checkpoints.checkpoint import CONFIG, Checkpoint
from slimgpt.checkpoints.families import layout, row_indices
from slimgpt.checkpoints.families.architecture import LayerSize, overrides
from slimgpt.checkpoints.output import folder as published
from slimgpt.errors import SpecError
from slimgpt.formats.stock_classes import padded_size, padding_obstacle, stock_of, uniform_size
from slimgpt.machine.disk import write_text

if TYPE_CHECKING:
    from torch import Tensor


def config(checkpoint: Checkpoint, size: LayerSize) -> dict[str, Any]:
    """The content of `config.json` for layers of one size, without remote code.

    Raises:
        SpecError: no stock class supports such layers.
    """
    architecture = checkpoint.architecture
    family = architecture.family
    stock = stock_of(architecture, checkpoint.config, size)
    edited = published.config(checkpoint, checkpoint.architecture.sizes)
    for key in ("auto_map", "per_layer_config", "allow_global_per_layer_attribute_access"):
        edited.pop(key, None)
    if stock.model_type != family.model_type:
        for key in family.bias_switches:
            edited.pop(key, None)
    return edited | {
        "model_type": stock.model_type,
        "architectures": [stock.causal],
        **overrides(family, size),
        **stock.extra,
    }


def write_uniform(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint whose layers have one size: the same tensors, another config.

    Args:
        folder: an existing, empty folder.

    Raises:
        SpecError: layers differ, or no stock class supports them.
        StorageError: the disk is full.
    """
    size = uniform_size(checkpoint.architecture.sizes)
    if size is None:
        raise SpecError(
            "format `uniform` needs layers of one size, and this model's layers differ",
            hint="choose format `padded`, which pads them, or `gguf`",
        )
    write_files(checkpoint, size, folder)
    shards.write(checkpoint.tensors, folder)


def write_files(checkpoint: Checkpoint, size: LayerSize, folder: Path) -> None:
    """Write all files of a stock class except the weights.

    Args:
        checkpoint: the parent, dense or pruned.
        size: of every layer.

    Raises:
        SpecError: no stock class supports such layers.
        StorageError: the disk is full.
    """
    write_text(folder / CONFIG, json.dumps(config(checkpoint, size), indent=2) + "\n")
    published.copy_companions(checkpoint, folder)


def write_padded(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint with all layers padded with zeros to one size, a layer at a time.

    Args:
        folder: an existing, empty folder.

    Raises:
        SpecError: no stock class supports such layers.
        StorageError: the disk is full.
    """
    size = padded_size(checkpoint.architecture)
    if reason := padding_obstacle(checkpoint.architecture, checkpoint.config):
        raise SpecError(
            f"format `padded` cannot hold this model: {reason}", hint="use format `exact`"
        )
    write_files(checkpoint, size, folder)
    tensors = {name: checkpoint.tensors[name] for name in checkpoint.outer_names()}
    with TemporaryDirectory(prefix=".layers-", dir=folder) as layers:
        for index, own in enumerate(checkpoint.architecture.sizes):
            file = Path(layers) / f"{index}.safetensors"
            prefix = checkpoint.architecture.family.layer_prefix(index)
            layer = padded(checkpoint, checkpoint.layer(index), own, size)
            safetensors_file.save(file, {prefix + name: one for name, one in layer.items()})
            tensors |= safetensors_header.read(file)
        shards.write(tensors, folder)


def padded(
    checkpoint: Checkpoint, layer: Mapping[str, Tensor], own: LayerSize, size: LayerSize
) -> dict[str, Tensor]:
    """One layer's tensors, padded with zeros for missing heads and channels.

    Query heads are placed so that each keeps the KV head of its group.

    Args:
        layer: tensors by name within the layer, of size `own`.
        size: the padded size, at least `own` in all fields.
    """
    family, width = checkpoint.architecture.family, checkpoint.architecture.head_dim
    mine, theirs = own.heads // own.kv_heads, size.heads // size.kv_heads
    heads = [group * theirs + head for group in range(own.kv_heads) for head in range(mine)]
    queries = row_indices.blocks(heads, width)
    keys, channels = list(range(own.kv_heads * width)), list(range(own.channels))
    placed = {family.query: queries, family.key: keys, family.value: keys}
    placed |= dict.fromkeys(family.wide, channels)
    columns = {family.output: queries, family.down: channels}
    shapes = layout.layer(checkpoint.architecture, checkpoint.config, size)
    made = {}
    for name, tensor in layer.items():
        module, _, kind = name.rpartition(".")
        full = tensor.new_zeros(shapes[name])
        if module in placed:
            full[placed[module]] = tensor
        elif module in columns and kind == "weight":
            full[:, columns[module]] = tensor
        else:
            full.copy_(tensor)
        made[name] = full
    return made
