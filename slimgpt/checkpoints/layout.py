"""Which tensors a checkpoint must hold, and their shapes, by what its config says.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimgpt.checkpoints.architecture import Architecture, LayerSize

Shapes = dict[str, tuple[int, ...]]
BUFFERS = "rotary_emb.inv_freq"  # old Llama checkpoints carry it; transformers computes it


def layer(architecture: Architecture, config: Mapping[str, Any], size: LayerSize) -> Shapes:
    """Shapes of one decoder layer's tensors by their names within the layer."""
    family, hidden = architecture.family, architecture.hidden
    queries = size.heads * architecture.head_dim
    keys = size.kv_heads * architecture.head_dim
    matrices = {
        family.query: (queries, hidden),
        family.key: (keys, hidden),
        family.value: (keys, hidden),
        family.output: (hidden, queries),
        **dict.fromkeys(family.wide, (size.channels, hidden)),
        family.down: (hidden, size.channels),
    }
    biased = _biased(architecture, config)
    shapes: Shapes = {f"{name}.weight": shape for name, shape in matrices.items()}
    shapes |= {f"{name}.bias": (matrices[name][0],) for name in biased}
    shapes |= {f"{name}.weight": (architecture.head_dim,) for name in family.head_norms}
    shapes |= {f"{name}.weight": (hidden,) for name in (family.attention_norm, family.ffn_norm)}
    return shapes


def outer(architecture: Architecture) -> Shapes:
    """Shapes of the tensors outside the decoder layers by full name; no head where it is tied."""
    family = architecture.family
    table = (architecture.vocabulary, architecture.hidden)
    shapes: Shapes = {
        f"{family.embedding}.weight": table,
        f"{family.final_norm}.weight": (architecture.hidden,),
    }
    if not architecture.tied:
        shapes[f"{family.head}.weight"] = table
    return shapes


def whole(architecture: Architecture, config: Mapping[str, Any]) -> Shapes:
    """Shapes of all the checkpoint's tensors by full name."""
    shapes = outer(architecture)
    for index, size in enumerate(architecture.sizes):
        prefix = f"{architecture.family.layers}.{index}."
        shapes |= {
            prefix + name: shape for name, shape in layer(architecture, config, size).items()
        }
    return shapes


def _biased(architecture: Architecture, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The projections that have a bias."""
    family = architecture.family
    switched = {
        "attention_bias": (family.query, family.key, family.value, family.output),
        "mlp_bias": (*family.wide, family.down),
    }
    on = [name for key in family.bias_switches if config.get(key) for name in switched[key]]
    return (*family.biased, *on)
