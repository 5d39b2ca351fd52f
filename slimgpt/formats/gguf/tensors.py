"""`Rows`: the parts of checkpoint tensors from which a GGUF tensor is assembled.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slimgpt.checkpoints.families.architecture import Architecture, LayerSize

if TYPE_CHECKING:
    from torch import Tensor

AFTER_NORMS = ("post_attention_norm", "post_ffw_norm")
EXPERTS = "_exps"
"""Name suffix of tensors of all experts: (expert, out, in)."""


@dataclass(frozen=True)
class Rows:
    """Rows of a checkpoint tensor.

    Attributes:
        name: of the tensor; before `named`, of a module within a layer.
        first, rows: first row and number of rows; 0 rows: all.
    """

    name: str
    first: int = 0
    rows: int = 0

    def named(self, name: str) -> Rows:
        """The same rows of another tensor."""
        return replace(self, name=name)

    def of(self, tensor: Tensor) -> Tensor:
        """These rows of the tensor."""
        return tensor[self.first : self.first + self.rows] if self.rows else tensor


def of_layer(architecture: Architecture, size: LayerSize, *, fused: bool) -> dict[str, list[Rows]]:
    """A layer's modules in llama.cpp, each with the checkpoint parts that are stacked into it.

    Args:
        fused: whether queries, keys and values are one tensor.
    """
    family, width = architecture.family, architecture.head_dim
    attention, wide = [Rows(family.query), Rows(family.key), Rows(family.value)], family.wide
    if family.fused:
        attention = _stacked(family.query, [size.heads, size.kv_heads, size.kv_heads], width)
    gates = [Rows(name) for name in wide]
    if family.wide_parts > 1:
        gates = _stacked(wide[0], [size.channels] * family.wide_parts, 1)
    query, key, value = attention
    gate, up = gates
    made = {
        "attn_norm": [Rows(family.attention_norm)],
        **(
            {"attn_qkv": [query, key, value]}
            if fused
            else {"attn_q": [query], "attn_k": [key], "attn_v": [value]}
        ),
        "attn_output": [Rows(family.output)],
        "ffn_norm": [Rows(family.ffn_norm)],
        **_ffn(architecture, gate, up),
    }
    if family.head_norms:
        queries, keys = family.head_norms
        made |= {"attn_q_norm": [Rows(queries)], "attn_k_norm": [Rows(keys)]}
    for name, norm in zip(AFTER_NORMS, family.after_norms, strict=False):
        made[name] = [Rows(norm)]
    return made


def _ffn(architecture: Architecture, gate: Rows, up: Rows) -> dict[str, list[Rows]]:
    """The FFN's modules; the matrices of all experts are stacked in one tensor."""
    down = Rows(architecture.family.down)
    each = {"ffn_gate": gate, "ffn_up": up, "ffn_down": down}
    if not architecture.experts:
        return {name: [part] for name, part in each.items()}
    made = {"ffn_gate_inp": [Rows(architecture.family.router)]}
    for name, part in each.items():
        numbers = range(architecture.experts)
        made[name + EXPERTS] = [part.named(part.name.format(number)) for number in numbers]
    return made


def _stacked(name: str, units: list[int], width: int) -> list[Rows]:
    """The parts of a tensor in which several projections are stacked."""
    ends = [sum(units[: number + 1]) * width for number in range(len(units))]
    return [
        Rows(name, end - count * width, count * width)
        for end, count in zip(ends, units, strict=True)
    ]
