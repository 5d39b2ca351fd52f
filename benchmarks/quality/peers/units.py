"""Units of a layer that leave together, and their removal: heads of attention, channels of the FFN.

A unit of attention is a KV head with its query heads; where all query heads share one KV head it is
a query head. Names end in their shape: U units, C channels, O outputs, I inputs of a linear layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimgpt.errors import SpecError


def heads(attention: Any) -> tuple[int, int]:
    """Query heads and KV heads of an attention, as its projections now are."""
    width = attention.head_dim
    return attention.q_proj.out_features // width, attention.k_proj.out_features // width


def attention_units(attention: Any) -> int:
    """How many units an attention has."""
    query, kv = heads(attention)
    return query if kv == 1 else kv


def of_units(attention: Any, kept_U: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the query and of the KV projections that belong to units, in order."""
    query, kv = heads(attention)
    width = attention.head_dim
    if kv == 1:
        return _spread(kept_U, width), torch.arange(width, device=kept_U.device)
    return _spread(kept_U, query // kv * width), _spread(kept_U, width)


def keep_units(attention: Any, kept_U: Tensor) -> None:
    """Keep only some units of an attention, in their order."""
    query_rows, kv_rows = of_units(attention, kept_U)
    attention.q_proj = rows(attention.q_proj, query_rows)
    attention.k_proj = rows(attention.k_proj, kv_rows)
    attention.v_proj = rows(attention.v_proj, kv_rows)
    attention.o_proj = columns(attention.o_proj, query_rows)
    query, kv = heads(attention)
    attention.num_key_value_groups = query // kv


def keep_channels(mlp: Any, kept_C: Tensor) -> None:
    """Keep only some channels of a gated FFN, in their order."""
    mlp.gate_proj = rows(mlp.gate_proj, kept_C)
    mlp.up_proj = rows(mlp.up_proj, kept_C)
    mlp.down_proj = columns(mlp.down_proj, kept_C)


def rows(linear: nn.Linear, kept: Tensor) -> nn.Linear:
    """A linear layer with some of its outputs."""
    bias = None if linear.bias is None else linear.bias.detach()[kept]
    return of_weight(linear.weight.detach()[kept], bias)


def columns(linear: nn.Linear, kept: Tensor) -> nn.Linear:
    """A linear layer with some of its inputs."""
    bias = None if linear.bias is None else linear.bias.detach()
    return of_weight(linear.weight.detach()[:, kept], bias)


def of_weight(
    weight_OI: Tensor,
    bias_O: Tensor | None = None,
) -> nn.Linear:
    """A linear layer of a weight and a bias."""
    made = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=bias_O is not None, device="meta")
    made.weight = nn.Parameter(weight_OI.contiguous())
    if bias_O is not None:
        made.bias = nn.Parameter(bias_O.contiguous())
    return made


def size(module: nn.Module) -> int:
    """How many numbers a module holds, tied tensors counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def channels_to_keep(channels: int, excess: float, each: int, layers: int) -> int:
    """FFN channels to keep in each of some layers, so that so many parameters leave in all.

    Args:
        excess: parameters that shall leave.
        each: parameters of a channel.

    Raises:
        SpecError: there are not as many.
    """
    kept = round(channels - excess / (each * layers))
    if kept < 1:
        raise SpecError(
            f"the FFNs of {layers} layers hold less than what shall be removed",
            hint="choose a smaller ratio",
        )
    return min(kept, channels)


def _spread(units_U: Tensor, width: int) -> Tensor:
    """Indices of the rows of units that are so many rows wide."""
    return (units_U[:, None] * width + torch.arange(width, device=units_U.device)).flatten()
