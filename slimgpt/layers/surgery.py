"""Slicing a layer's weights: columns of one projection, and the matching rows of the others.

Pure functions from the tensors of one decoder layer, by their names within the layer, to smaller
ones in the same dtype.

Names end in their shape: O outputs (d_out), I inputs (d_in); E experts, C channels, F gates and ups
(2 · C), D d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.checkpoints.families import row_indices
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.checkpoints.families.family import Family
from slimgpt.methods.problem import Solution

Tensors = dict[str, Tensor]


def matrix(tensors: Tensors, family: Family, name: str) -> Tensor:
    """A projection's weight (O, I), whichever way it is stored."""
    weight = tensors[f"{name}.weight"]
    return weight.T if family.transposed else weight


def fused(tensors: Tensors, architecture: Architecture) -> Tensors:
    """A layer's tensors as the stock class has them: one tensor for all experts.

    (E, F, D) of gates and ups, (E, D, C) of downs.
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
    """Keep the columns of `o_proj` that the solution keeps, and the rows of q, k, v with them.

    Args:
        size: of the layer before the cut.
        solution: kept columns of `o_proj`, whole heads.

    Returns:
        the new tensors, the kept query heads and the kept KV heads.
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
    """Queries, keys and values of the heads that stay, and what norms them across heads."""
    family, width = architecture.family, architecture.head_dim
    cut: Tensors = {}
    for name, kept in row_indices.of_heads(architecture, size, heads, kv_heads).items():
        cut |= _rows(tensors, family, name, kept)
    for name, units in zip(family.span_norms, (heads, kv_heads), strict=False):
        cut[f"{name}.weight"] = tensors[f"{name}.weight"][row_indices.blocks(units, width)]
    return cut


def cut_channels(
    tensors: Tensors, architecture: Architecture, size: LayerSize, solution: Solution
) -> tuple[Tensors, list[int]]:
    """Keep the columns of `down_proj` that the solution keeps, and the rows of its inputs.

    Returns:
        the new tensors and the kept channels.
    """
    family, channels = architecture.family, solution.kept.tolist()
    cut = _replace(tensors, family, family.down, solution)
    for name, kept in row_indices.of_channels(architecture, size, channels).items():
        cut |= _rows(tensors, family, name, kept)
    return tensors | cut, channels


def _replace(tensors: Tensors, family: Family, name: str, solution: Solution) -> Tensors:
    """The projection's new weight, and its new bias where it has one and the method fills it."""
    old = tensors[f"{name}.weight"]
    weight = solution.weight.T if family.transposed else solution.weight
    new = {f"{name}.weight": weight.to(old.dtype).contiguous()}
    bias = tensors.get(f"{name}.bias")
    if bias is not None and solution.bias is not None:
        new[f"{name}.bias"] = (bias.to(solution.bias.dtype) + solution.bias).to(bias.dtype)
    return new


def _rows(tensors: Tensors, family: Family, name: str, kept: list[int]) -> Tensors:
    weight = tensors[f"{name}.weight"]
    new = {f"{name}.weight": weight[:, kept].contiguous() if family.transposed else weight[kept]}
    if f"{name}.bias" in tensors:
        new[f"{name}.bias"] = tensors[f"{name}.bias"][kept]
    return new


def _renumbered(tensors: Tensors, name: str, kept: list[int]) -> Tensors:
    """A list of norms without those whose heads left; the others close ranks."""
    norms = {key: tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    rest = {key: tensor for key, tensor in tensors.items() if key not in norms}
    return rest | {
        key.replace(f"{name}.{old}.", f"{name}.{new}."): tensor
        for new, old in enumerate(kept)
        for key, tensor in norms.items()
        if key.startswith(f"{name}.{old}.")
    }
