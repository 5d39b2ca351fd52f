"""ShortGPT: layers that change the residual stream least are removed whole (Men et al. 2024).

The Block Influence of a layer is 1 − E[cos(x, y)], x and y the stream before and after it, over all
tokens of the calibration windows, measured once on the dense model. The layers of least influence
leave, as many as bring the model nearest to the target: a layer is a coarse unit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.quality.peers.stream import Stream


def prune(model: Any, windows_NS: Tensor, target: int) -> str:
    """Remove the layers of least influence; says how many left.

    Args:
        model: of transformers; changed in place.
        windows_NS: int64.
        target: parameters to leave.
    """
    influence_L = influences(model, windows_NS)
    excess = sum(parameter.numel() for parameter in model.parameters()) - target
    size = sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    count = min(round(excess / size), len(influence_L) - 1)
    gone = set(influence_L.argsort(stable=True)[:count].tolist())
    remove(model, gone)
    return f"{count} of {len(influence_L)} layers removed, a layer is {size:,} parameters"


def influences(model: Any, windows_NS: Tensor) -> Tensor:
    """The Block Influence of each layer, (L,) float64."""
    stream, found = Stream(model, windows_NS), []
    for index, layer in enumerate(model.model.layers):
        before = stream.batches_BSD
        stream.advance(index, layer)
        cosines = [
            nn.functional.cosine_similarity(one.double(), other.double(), dim=-1)
            for one, other in zip(before, stream.batches_BSD, strict=True)
        ]
        found.append(1 - torch.cat(cosines).mean())
    return torch.stack(found).cpu()


def remove(model: Any, gone: set[int]) -> None:
    """Take layers out of a model; those that stay are numbered anew, for its cache."""
    kept = [index for index in range(len(model.model.layers)) if index not in gone]
    model.model.layers = nn.ModuleList(model.model.layers[index] for index in kept)
    for place, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = place
    if kinds := getattr(model.config, "layer_types", None):
        model.config.layer_types = [kinds[index] for index in kept]
    model.config.num_hidden_layers = len(kept)
