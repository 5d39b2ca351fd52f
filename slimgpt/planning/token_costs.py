"""Bytes of KV cache and floating-point operations of one generated token, dense and pruned.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families import layout
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.formats import support
from slimgpt.planning.document import TokenCosts


def of(checkpoint: Checkpoint, sizes: Sequence[LayerSize]) -> TokenCosts:
    """The costs of a token in the dense and in the pruned model.

    Args:
        sizes: sizes of the pruned layers.
    """
    before, config = checkpoint.architecture, checkpoint.config
    after = support.sized(before, sizes)
    width = round(checkpoint.bytes / checkpoint.parameters)
    return TokenCosts(
        cache_bytes_before=cache_bytes(before, width),
        cache_bytes_after=cache_bytes(after, width),
        operations_before=operations(before, config),
        operations_after=operations(after, config),
    )


def cache_bytes(architecture: Architecture, width: int) -> int:
    """Bytes of a token's keys and values in all layers, with `width` bytes per number."""
    heads = sum(size.kv_heads for size in architecture.sizes)
    return 2 * heads * architecture.head_dim * width


def operations(architecture: Architecture, config: Mapping[str, Any]) -> int:
    """Floating-point operations of a token's products with all weight matrices and the output head.

    Two per parameter; of experts, those that one token is routed to. Attention scores not included.
    """
    head = architecture.vocabulary * architecture.hidden
    layers = sum(_matrices(architecture, config, size) for size in architecture.sizes)
    return 2 * (layers + head)


def _matrices(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> int:
    """Parameters of the layer's matrices that a token is multiplied with; of experts a share."""
    shapes = layout.layer(architecture, config, size)
    ffns = {
        f"{name}.weight"
        for ffn in architecture.ffns()
        for name in (*ffn.family.wide, ffn.family.down)
    }
    counts = {name: math.prod(shape) for name, shape in shapes.items() if len(shape) == 2}
    always = sum(count for name, count in counts.items() if name not in ffns)
    routed = sum(count for name, count in counts.items() if name in ffns)
    if not architecture.experts:
        return always + routed
    chosen = int(architecture.family.completed(config)["num_experts_per_tok"])
    return always + routed * min(chosen, architecture.experts) // architecture.experts
