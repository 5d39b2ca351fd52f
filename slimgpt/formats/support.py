"""Which formats and loaders support a model of given sizes, with the reason where not.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.errors import SpecError
from slimgpt.formats import stock_classes
from slimgpt.formats.gguf import hyperparameters
from slimgpt.spec.planned_sizes import FormatSupport
from slimgpt.spec.prune import Format

BLOCKS = (32, 256)  # quantisation block sizes: Q8_0 and Q4_0, K-quants
PARALLEL = (2, 4, 8, 16, 32)  # devices
FURTHER: tuple[Format, ...] = ("uniform", "padded", "gguf")
"""Formats in addition to `exact`, in the order in which they are written."""
HINTS: dict[Format, str] = {
    "exact": "",
    "uniform": "choose format `padded`, which pads layers, or `gguf`",
    "padded": "use format `exact`",
    "gguf": "remove `gguf` from the formats",
}


def obstacle(form: Format, architecture: Architecture, config: Mapping[str, Any]) -> str:
    """Why a model cannot be written in a format; empty if it can."""
    if form == "exact":
        return ""
    if form == "gguf":
        return hyperparameters.obstacle(architecture, config)
    if form == "padded":
        return stock_classes.padding_obstacle(architecture, config)
    size = stock_classes.uniform_size(architecture.sizes)
    if size is None:
        return "its layers differ in size"
    return stock_classes.obstacle(architecture, config, size)


def require(form: Format, architecture: Architecture, config: Mapping[str, Any]) -> None:
    """Check that a model can be written in a format.

    Raises:
        SpecError: it cannot; the message gives the reason.
    """
    if reason := obstacle(form, architecture, config):
        raise SpecError(f"format `{form}` cannot hold this model: {reason}", hint=HINTS[form])


def all_of(models: Sequence[Architecture], config: Mapping[str, Any]) -> list[FormatSupport]:
    """The formats in which all models of a job can be written, or the reason why not."""
    made = []
    for form in get_args(Format):
        reasons = (obstacle(form, model, config) for model in models)
        reason = next((one for one in reasons if one), "")
        made.append(FormatSupport(format=form, possible=not reason, reason=reason))
    return made


def loaders(architecture: Architecture) -> dict[str, str]:
    """Effects of the sizes on quantisation and tensor parallelism, as text by topic."""
    sizes = architecture.sizes
    effects = {f"{block}-blocks": _blocks(architecture, sizes, block) for block in BLOCKS}
    allowed = [n for n in PARALLEL if all(_divides(n, size) for size in sizes)]
    several = f"possible on {', '.join(map(str, allowed))} devices"
    if not allowed:
        several = (
            "not possible; no number of devices divides heads, KV heads and FFN widths of all "
            "layers"
        )
    effects["tensor parallel"] = f"tensor parallel: {several}"
    return effects


def sized(architecture: Architecture, sizes: Sequence[LayerSize]) -> Architecture:
    """An architecture with other layer sizes."""
    return replace(architecture, sizes=tuple(sizes))


def _divides(number: int, size: LayerSize) -> bool:
    return not any(one % number for one in (size.heads, size.kv_heads, size.channels))


def _blocks(architecture: Architecture, sizes: Sequence[LayerSize], block: int) -> str:
    """Whether llama.cpp can quantise all rows in blocks of a size, as text."""
    kind = "Q8_0, Q4_0" if block == 32 else "K-quants"
    rows = {"hidden size": [architecture.hidden]}
    rows["heads × head_dim"] = [size.heads * architecture.head_dim for size in sizes]
    rows["FFN width"] = [size.channels for size in sizes]
    off = [name for name, values in rows.items() if math.gcd(*values) % block]
    if not off:
        return f"{kind}: possible, all row lengths are multiples of {block}"
    return f"{kind}: not possible for rows of {', '.join(off)} (not a multiple of {block})"
