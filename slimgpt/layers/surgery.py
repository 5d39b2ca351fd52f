"""Slicing the weights of a decoder layer.

Pruning removes columns of an output projection (`o_proj` or `down_proj`), and the rows of the
projections before it that compute the inputs of these columns. All functions are pure: they map the
tensors of one layer, by their names within the layer, to smaller tensors of the same dtype.

Names end in their shape: O outputs (d_out), I inputs (d_in); E experts, C channels, F rows of the
fused gate and up projections (2 · C), D d_model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slimgpt.checkpoints.families import row_indices
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.checkpoints.families.family import Family
from slimgpt.methods.problem import Kind, Solution

Tensors = dict[str, Tensor]


def output_weights(tensors: Tensors, architecture: Architecture, kind: Kind) -> list[Tensor]:
    """Weights (O, I) of `o_proj`, or of the `down_proj` of every FFN: one per expert.

    They are views of the tensors, which some families store transposed.
    """
    family = architecture.family
    names = [family.output]
    if kind == "ffn":
        names = [own.family.down for own in architecture.ffns()]
    weights = [tensors[f"{name}.weight"] for name in names]
    return [weight.T if family.transposed else weight for weight in weights]


def fused(tensors: Tensors, architecture: Architecture) -> Tensors:
    """A layer's tensors as transformers' class has them: those of all experts in one tensor.

    Gate and up projections are (E, F, D), down projections (E, D, C). Without experts unchanged.
    """
    if not architecture.experts:
        return tensors
    ffns = [each.family for each in architecture.ffns()]
    names = {f"{name}.weight" for ffn in ffns for name in (*ffn.wide, ffn.down)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in names}
    wide_EFD = torch.stack(
        [torch.cat([tensors[f"{name}.weight"] for name in ffn.wide]) for ffn in ffns]
    )
    down_EDC = torch.stack([tensors[f"{ffn.down}.weight"] for ffn in ffns])
    return rest | {
        "mlp.gate.weight": rest.pop(f"{architecture.family.router}.weight"),
        "mlp.experts.gate_up_proj": wide_EFD,
        "mlp.experts.down_proj": down_EDC,
    }


def cut_heads(
    tensors: Tensors, architecture: Architecture, size: LayerSize, solution: Solution
) -> tuple[Tensors, list[int], list[int]]:
    """Keep the columns of `o_proj` that the solution keeps, and the query, key and value rows.

    Args:
        size: size of the layer before the cut.
        solution: kept columns of `o_proj`, in whole heads, and their new weights.

    Returns:
        the new tensors, and the indices of the kept query heads and KV heads.
    """
    family, width = architecture.family, architecture.head_dim
    heads = (solution.kept[::width] // width).tolist()
    kv_heads = sorted({head // (size.heads // size.kv_heads) for head in heads})
    cut = tensors | _replace(tensors, family, family.output, solution)
    cut |= kept_heads(tensors, architecture, size, heads, kv_heads)
    for name, kept in zip(family.numbered_norms, (heads, kv_heads), strict=False):
        cut = _renumbered(cut, name, kept)
    return cut, heads, kv_heads


def kept_heads(
    tensors: Tensors,
    architecture: Architecture,
    size: LayerSize,
    heads: list[int],
    kv_heads: list[int],
) -> Tensors:
    """Query, key and value projections of the kept heads, and weights of norms across heads."""
    family, width = architecture.family, architecture.head_dim
    cut: Tensors = {}
    for name, kept in row_indices.of_heads(architecture, size, heads, kv_heads).items():
        cut |= _rows(tensors, family, name, kept)
    for name, units in zip(family.span_norms, (heads, kv_heads), strict=False):
        cut[f"{name}.weight"] = tensors[f"{name}.weight"][row_indices.blocks(units, width)]
    return cut


def cut_channels(
    tensors: Tensors, architecture: Architecture, size: LayerSize, solutions: Sequence[Solution]
) -> tuple[Tensors, list[list[int]]]:
    """Keep the columns of each FFN's `down_proj` that its solution keeps, and the matching rows.

    Args:
        size: size of the layer before the cut.
        solutions: kept columns of each `down_proj`, and their new weights.

    Returns:
        the new tensors, and the indices of the kept channels of each FFN.
    """
    cut, channels = dict(tensors), [solution.kept.tolist() for solution in solutions]
    for own, solution, kept in zip(architecture.ffns(), solutions, channels, strict=True):
        cut |= _replace(tensors, own.family, own.family.down, solution)
        for name, rows in row_indices.of_channels(own, size, kept).items():
            cut |= _rows(tensors, own.family, name, rows)
    return cut, channels


def _replace(tensors: Tensors, family: Family, name: str, solution: Solution) -> Tensors:
    """The projection's new weight, and its new bias if it has one and the method changes it."""
    old = tensors[f"{name}.weight"]
    weight = solution.weight.T if family.transposed else solution.weight
    new = {f"{name}.weight": weight.to(old.dtype).contiguous()}
    bias = tensors.get(f"{name}.bias")
    if bias is not None and solution.bias is not None:
        new[f"{name}.bias"] = (bias.to(solution.bias.dtype) + solution.bias).to(bias.dtype)
    return new


def _rows(tensors: Tensors, family: Family, name: str, kept: list[int]) -> Tensors:
    """Some output rows of a projection's weight, and of its bias if it has one."""
    weight = tensors[f"{name}.weight"]
    new = {f"{name}.weight": weight[:, kept].contiguous() if family.transposed else weight[kept]}
    if f"{name}.bias" in tensors:
        new[f"{name}.bias"] = tensors[f"{name}.bias"][kept]
    return new


def _renumbered(tensors: Tensors, name: str, kept: list[int]) -> Tensors:
    """A list of per-head norms without those of removed heads, numbered consecutively."""
    norms = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    rest = {key: tensor for key, tensor in tensors.items() if key not in norms}
    return rest | {
        key.replace(f"{name}.{old}.", f"{name}.{new}."): tensor
        for new, old in enumerate(kept)
        for key, tensor in norms.items()
        if key.startswith(f"{name}.{old}.")
    }
