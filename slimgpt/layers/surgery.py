"""Cutting a layer's tensors: columns of one projection, and the rows that follow them.

Pure functions from the tensors of one decoder layer, by their names within the layer, to smaller
ones in the same dtype.
"""

from __future__ import annotations

from torch import Tensor

from slimgpt.checkpoints.architecture import LayerSize
from slimgpt.checkpoints.families import Family
from slimgpt.methods.solution import Solution

Tensors = dict[str, Tensor]


def cut_heads(
    tensors: Tensors, family: Family, size: LayerSize, solution: Solution
) -> tuple[Tensors, list[int], list[int]]:
    """Keep the columns of `o_proj` that the solution keeps, and the rows of q, k, v with them.

    Args:
        size: of the layer before the cut.
        solution: kept columns of `o_proj`, whole heads.

    Returns:
        the new tensors, the kept query heads and the kept KV heads.
    """
    head_dim = tensors[f"{family.output}.weight"].shape[1] // size.heads
    heads = (solution.kept[::head_dim] // head_dim).tolist()
    kv_heads = sorted({head // (size.heads // size.kv_heads) for head in heads})
    cut = _replace(tensors, family.output, solution)
    cut |= _rows(tensors, family.query, solution.kept)
    kv_rows = solution.kept.new_tensor(
        [kv * head_dim + row for kv in kv_heads for row in range(head_dim)]
    )
    for name in (family.key, family.value):
        cut |= _rows(tensors, name, kv_rows)
    return tensors | cut, heads, kv_heads


def cut_channels(tensors: Tensors, family: Family, solution: Solution) -> tuple[Tensors, list[int]]:
    """Keep the columns of `down_proj` that the solution keeps, and the rows of its inputs.

    Returns:
        the new tensors and the kept channels.
    """
    cut = _replace(tensors, family.down, solution)
    for name in family.wide:
        cut |= _rows(tensors, name, solution.kept)
    return tensors | cut, solution.kept.tolist()


def _replace(tensors: Tensors, name: str, solution: Solution) -> Tensors:
    """The projection's new weight, and its new bias where it has one and the method fills it."""
    old = tensors[f"{name}.weight"]
    new = {f"{name}.weight": solution.weight.to(old.dtype).contiguous()}
    bias = tensors.get(f"{name}.bias")
    if bias is not None and solution.bias is not None:
        new[f"{name}.bias"] = (bias.to(solution.bias.dtype) + solution.bias).to(bias.dtype)
    return new


def _rows(tensors: Tensors, name: str, rows: Tensor) -> Tensors:
    new = {f"{name}.weight": tensors[f"{name}.weight"][rows]}
    if f"{name}.bias" in tensors:
        new[f"{name}.bias"] = tensors[f"{name}.bias"][rows]
    return new
