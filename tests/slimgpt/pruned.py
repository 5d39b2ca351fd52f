"""A pruned checkpoint without a pruning method: pieces chosen by lot, cut out, published."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slimgpt.checkpoints import published
from slimgpt.checkpoints.architecture import Architecture, LayerSize
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.shards import PartialCheckpoint


@dataclass(frozen=True)
class Kept:
    """What stays of one layer: KV groups and FFN channels, ascending."""

    groups: tuple[int, ...]
    channels: tuple[int, ...]
    per_group: int

    @property
    def heads(self) -> tuple[int, ...]:
        """Query heads, whole groups."""
        return tuple(
            group * self.per_group + head for group in self.groups for head in range(self.per_group)
        )

    @property
    def size(self) -> LayerSize:
        """The layer's size."""
        return LayerSize(len(self.heads), len(self.groups), len(self.channels))


def lots(architecture: Architecture, seed: int = 0) -> list[Kept]:
    """Different pieces for every layer; the first layer keeps all."""
    draw = random.Random(seed)
    kept = []
    for index, size in enumerate(architecture.sizes):
        groups = draw.randint(1, size.kv_heads) if index else size.kv_heads
        channels = draw.randint(1, size.channels - 1) if index else size.channels
        kept.append(
            Kept(
                tuple(sorted(draw.sample(range(size.kv_heads), groups))),
                tuple(sorted(draw.sample(range(size.channels), channels))),
                size.heads // size.kv_heads,
            )
        )
    return kept


def publish(checkpoint: Checkpoint, kept: list[Kept], folder: Path) -> Path:
    """Cut the pieces out and write the folder as a job does."""
    work = PartialCheckpoint(
        folder.with_name(folder.name + "-work"), "job", checkpoint.architecture
    )
    for index, layer in enumerate(kept):
        work.write_layer(index, cut(checkpoint, index, layer), {"layer": index})
    work.write_outer(checkpoint)
    sizes = [layer.size for layer in kept]
    work.finalise(folder, lambda aside: published.write(checkpoint, sizes, aside))
    work.discard()
    return folder


def cut(checkpoint: Checkpoint, index: int, kept: Kept) -> dict[str, Tensor]:
    """One layer without the rest, by names within the layer."""
    family, width = checkpoint.architecture.family, checkpoint.architecture.head_dim
    rows = {
        family.query: columns(kept.heads, width),
        family.key: columns(kept.groups, width),
        family.value: columns(kept.groups, width),
        **{name: list(kept.channels) for name in family.wide},
    }
    inputs = {family.output: columns(kept.heads, width), family.down: list(kept.channels)}
    tensors = {}
    for name, tensor in checkpoint.layer(index).items():
        module = name.rpartition(".")[0]
        if module in rows:
            tensors[name] = tensor[rows[module]]
        elif module in inputs and name.endswith(".weight"):
            tensors[name] = tensor[:, inputs[module]]
        else:
            tensors[name] = tensor
    return tensors


def mask(model: Any, architecture: Architecture, kept: list[Kept]) -> Any:
    """Make a dense model compute what is left: zero the columns through which the rest speaks."""
    family = architecture.family
    with torch.no_grad():
        for index, layer in enumerate(kept):
            module = model.get_submodule(f"{family.layers}.{index}")
            inputs = {
                family.output: columns(layer.heads, architecture.head_dim),
                family.down: list(layer.channels),
            }
            for name, staying in inputs.items():
                weight = module.get_submodule(name).weight
                gone = torch.ones(weight.shape[1], dtype=torch.bool)
                gone[staying] = False
                weight[:, gone] = 0
    return model


def columns(units: tuple[int, ...], width: int) -> list[int]:
    """The columns of some units."""
    return [unit * width + offset for unit in units for offset in range(width)]
