"""A pruned checkpoint without a pruning method: pieces chosen by lot, cut out, published."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slimgpt.checkpoints import shards
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families import row_indices
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.checkpoints.output import folder as published
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.layers import surgery
from slimgpt.machine import disk
from slimgpt.methods.problem import Solution


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

    def of_expert(self, number: int, width: int) -> list[int]:
        """Channels of an expert; every one keeps others."""
        return sorted((channel + 3 * number) % width for channel in self.channels)

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
        if architecture.experts:
            channels = max(8, channels - channels % 8)  # their products are grouped
        kept.append(
            Kept(
                tuple(sorted(draw.sample(range(size.kv_heads), groups))),
                tuple(sorted(draw.sample(range(size.channels), channels))),
                size.heads // size.kv_heads,
            )
        )
    return kept


def alike(architecture: Architecture) -> list[Kept]:
    """Half of every layer: other pieces, but as many."""
    size = architecture.sizes[0]
    groups, channels = size.kv_heads // 2, size.channels // 2
    starts = [index % groups for index in range(architecture.layers)]
    return [
        Kept(
            tuple(range(start, start + groups)),
            tuple(range(8 * start, 8 * start + channels)),
            size.heads // size.kv_heads,
        )
        for start in starts
    ]


def publish(checkpoint: Checkpoint, kept: list[Kept], folder: Path) -> Path:
    """Cut the pieces out and write the folder as a job does."""
    work = PartialCheckpoint(
        folder.with_name(folder.name + "-work"), "job", checkpoint.architecture
    )
    for index, layer in enumerate(kept):
        work.write_layer(index, cut(checkpoint, index, layer), {"layer": index})
    with disk.new_folder(folder) as place:
        shards.write(work.tensors(checkpoint), place)
        published.write(checkpoint, [layer.size for layer in kept], place)
    work.discard()
    return folder


def cut(checkpoint: Checkpoint, index: int, kept: Kept) -> dict[str, Tensor]:
    """One layer without the rest, by names within the layer."""
    architecture = checkpoint.architecture
    layer, size = checkpoint.layer(index), architecture.sizes[index]
    heads = torch.tensor(row_indices.blocks(kept.heads, architecture.head_dim))
    (output,) = surgery.output_weights(layer, architecture, "attention")
    layer, _, _ = surgery.cut_heads(layer, architecture, size, Solution(heads, output[:, heads]))
    size = LayerSize(kept.size.heads, kept.size.kv_heads, size.channels)
    solutions = []
    for number, down in enumerate(surgery.output_weights(layer, architecture, "ffn")):
        channels = torch.tensor(kept.of_expert(number, size.channels))
        solutions.append(Solution(channels, down[:, channels]))
    layer, _ = surgery.cut_channels(layer, architecture, size, solutions)
    return layer


@torch.no_grad()
def mask(model: Any, architecture: Architecture, kept: list[Kept]) -> Any:
    """Make a dense model compute what is left: zero the columns through which the rest speaks."""
    family = architecture.family
    for index, layer in enumerate(kept):
        module = model.get_submodule(f"{family.layers}.{index}")
        inputs = {family.output: row_indices.blocks(layer.heads, architecture.head_dim)}
        if architecture.experts:
            silence_experts(module.get_submodule("mlp.experts").down_proj, layer)
        else:
            inputs[family.down] = list(layer.channels)
        for name, staying in inputs.items():
            weight = module.get_submodule(name).weight
            weight = weight.T if family.transposed else weight
            gone = torch.ones(weight.shape[1], dtype=torch.bool)
            gone[staying] = False
            weight[:, gone] = 0
        spans = ((family.query, layer.heads), (family.key, layer.groups))
        for name, (projection, units) in zip(family.span_norms, spans, strict=False):
            silence(module, projection, name, row_indices.blocks(units, architecture.head_dim))
    return model


@torch.no_grad()
def silence_experts(down: Tensor, kept: Kept) -> None:
    """Zero the columns of experts' channels that leave; `down` is (experts, d_model, channels)."""
    for number, weight in enumerate(down):
        staying = kept.of_expert(number, weight.shape[1])
        gone = torch.ones(weight.shape[1], dtype=torch.bool)
        gone[staying] = False
        weight[:, gone] = 0


@torch.no_grad()
def silence(layer: Any, projection: str, norm: str, staying: list[int]) -> None:
    """Leave some rows to a projection, and to the norm over it the mean over these rows alone.

    Over the others, which are zero, the norm would take its mean as well: weight and epsilon make
    up for that.
    """
    linear, scale = layer.get_submodule(projection), layer.get_submodule(norm)
    gone = torch.ones(linear.weight.shape[0], dtype=torch.bool)
    gone[staying] = False
    linear.weight[gone] = 0
    if linear.bias is not None:
        linear.bias[gone] = 0
    share = len(staying) / len(gone)
    scale.weight *= share**0.5
    scale.variance_epsilon *= share
