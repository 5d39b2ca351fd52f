"""The tensor names and shapes that a checkpoint must contain, derived from its config.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slimgpt.checkpoints.families import architecture as architectures
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.checkpoints.families.family import Family

Shapes = dict[str, tuple[int, ...]]
BUFFERS = "rotary_emb.inv_freq"  # stored in old Llama checkpoints; transformers computes it


def layer(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> Shapes:
    """Shapes of one decoder layer's tensors by their names within the layer."""
    family, hidden, width = architecture.family, architecture.hidden, architecture.head_dim
    queries, keys = size.heads * width, size.kv_heads * width
    if family.fused:
        projections = {family.query: (queries + 2 * keys, hidden)}
    else:
        projections = {
            family.query: (queries, hidden),
            family.key: (keys, hidden),
            family.value: (keys, hidden),
        }
    matrices = {**projections, family.output: (hidden, queries)}
    if family.router:
        matrices[family.router] = (architecture.experts, hidden)
    for ffn in (each.family for each in architecture.ffns()):
        matrices |= dict.fromkeys(ffn.wide, (family.wide_parts * size.channels, hidden))
        matrices[ffn.down] = (hidden, size.channels)
    shapes: Shapes = {f"{name}.weight": _stored(family, shape) for name, shape in matrices.items()}
    shapes |= {f"{name}.bias": (matrices[name][0],) for name in family.biases(config)}
    shapes |= _norms(family, family.norms(config), hidden)
    shapes |= {
        f"{n}.weight": (w,) for n, w in zip(family.span_norms, (queries, keys), strict=False)
    }
    if family.has_head_norms(config):
        shapes |= {f"{name}.weight": (width,) for name in family.head_norms}
        for name, count in zip(family.numbered_norms, (size.heads, size.kv_heads), strict=False):
            shapes |= {f"{name}.{index}.weight": (width,) for index in range(count)}
    return shapes


def outer(architecture: Architecture, config: Mapping[str, Any]) -> Shapes:
    """Shapes of the tensors outside the decoder layers by full name, without a tied head."""
    family = architecture.family
    table = (architecture.vocabulary, architecture.hidden)
    shapes: Shapes = {f"{family.embedding}.weight": table}
    if family.positions:
        count = architectures.positions(architecture, config) + family.positions_offset
        shapes[f"{family.positions}.weight"] = (count, architecture.hidden)
    shapes |= _norms(family, (family.final_norm,), architecture.hidden)
    if not architecture.tied:
        shapes[f"{family.head}.weight"] = table
    return shapes


def whole(architecture: Architecture, config: Mapping[str, Any]) -> Shapes:
    """Shapes of all the checkpoint's tensors by full name."""
    shapes = outer(architecture, config)
    for index, size in enumerate(architecture.sizes):
        prefix = architecture.family.layer_prefix(index)
        shapes |= {
            prefix + name: shape for name, shape in layer(architecture, config, size).items()
        }
    return shapes


def _norms(family: Family, names: Iterable[str], width: int) -> Shapes:
    """Shapes of the norms' weights and, in some families, biases."""
    parts = ("weight", "bias") if family.norm_bias else ("weight",)
    return {f"{name}.{part}": (width,) for name in names for part in parts}


def _stored(family: Family, shape: tuple[int, int]) -> tuple[int, int]:
    """Shape (out, in) of a linear layer in the order of the family's files."""
    return (shape[1], shape[0]) if family.transposed else shape
