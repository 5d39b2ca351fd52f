"""LLM-Pruner: coupled structures by their first-order Taylor importance (Ma et al. 2023).

Element-wise, `param_first` of its program: the importance of a weight is |w · ∂L/∂w|, L the mean
loss of the language model over the calibration windows; that of a structure is the sum over its
weights (`group_reduction=sum`). A structure is a unit of attention or an FFN channel. The ratio is
the same in every layer that is pruned, and the first four and the last two of 32 layers are spared,
as in its paper; of other depths the same share. Heads are a coarse unit, so that FFN channels make
up what the target asks for beyond them. The paper's training afterwards is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.quality.peers import units

SPARED = 4 / 32, 2 / 32  # of the layers, first and last
TOGETHER = 2  # windows of a batch
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FFN = ("gate_proj", "up_proj", "down_proj")
Saliences = dict[str, Tensor]
"""|w · ∂L/∂w| of each weight of a layer, float32, by its projection."""


def prune(model: Any, windows_NS: Tensor, target: int) -> str:
    """Remove the structures of least importance; says which layers were spared.

    Args:
        model: of transformers; changed in place.
        windows_NS: int64.
        target: parameters to leave.

    Raises:
        SpecError: the layers that are pruned hold too little.
    """
    layers = list(model.model.layers)
    first, last = (round(share * len(layers)) for share in SPARED)
    chosen = range(first, len(layers) - last)
    excess = units.size(model) - target
    saliences = taylor(model, windows_NS)
    ratio = excess / sum(_projections(layers[index]) for index in chosen)
    for index in chosen:
        attention, found = layers[index].self_attn, saliences[index]
        count = units.attention_units(attention)
        gone = min(round(ratio * count), count - 1)
        scores_U = attention_scores(attention, found)
        units.keep_units(attention, _best(scores_U, count - gone))
    mlp = layers[first].mlp
    excess = units.size(model) - target
    each = sum(getattr(mlp, name).weight.numel() for name in FFN) // mlp.gate_proj.out_features
    width = units.channels_to_keep(mlp.gate_proj.out_features, excess, each, len(chosen))
    for index in chosen:
        units.keep_channels(layers[index].mlp, _best(channel_scores(saliences[index]), width))
    return f"layers {first} to {len(layers) - last - 1} pruned, {width} FFN channels left of each"


def taylor(model: Any, windows_NS: Tensor) -> list[Saliences]:
    """The importance of every weight of every layer, by gradients."""
    weights = [
        {name: linear.weight for name, linear in _linears(layer)} for layer in model.model.layers
    ]
    every = [weight for layer in weights for weight in layer.values()]
    wanted = {id(weight) for weight in every}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in wanted)
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in every]
    for ids_BS in torch.split(windows_NS, TOGETHER):
        loss = model(input_ids=ids_BS, labels=ids_BS, use_cache=False).loss
        share = len(ids_BS) / len(windows_NS)
        for total, gradient in zip(sums, torch.autograd.grad(loss, every), strict=True):
            total.add_(gradient, alpha=share)
    model.requires_grad_(requires_grad=False)
    found = iter((weight.float() * total).abs() for weight, total in zip(every, sums, strict=True))
    return [{name: next(found) for name in layer} for layer in weights]


def attention_scores(attention: Any, saliences: Saliences) -> Tensor:
    """The importance of each unit of an attention, (U,)."""
    every_U = torch.arange(units.attention_units(attention), device=saliences["q_proj"].device)
    scores = []
    for unit in every_U:
        query_rows, kv_rows = units.of_units(attention, unit[None])
        scores.append(
            saliences["q_proj"][query_rows].sum()
            + saliences["k_proj"][kv_rows].sum()
            + saliences["v_proj"][kv_rows].sum()
            + saliences["o_proj"][:, query_rows].sum()
        )
    return torch.stack(scores)


def channel_scores(saliences: Saliences) -> Tensor:
    """The importance of each FFN channel, (C,)."""
    into_C = saliences["gate_proj"].sum(1) + saliences["up_proj"].sum(1)
    return into_C + saliences["down_proj"].sum(0)


def _best(scores: Tensor, count: int) -> Tensor:
    """The places of the largest scores, ascending."""
    return scores.argsort(stable=True, descending=True)[:count].sort().values


def _linears(layer: Any) -> list[tuple[str, nn.Linear]]:
    named = [(layer.self_attn, name) for name in ATTENTION] + [(layer.mlp, name) for name in FFN]
    return [(name, getattr(module, name)) for module, name in named]


def _projections(layer: Any) -> int:
    return sum(linear.weight.numel() for _, linear in _linears(layer))
