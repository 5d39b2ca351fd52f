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
from slimgpt.events import FormatSupport
from slimgpt.formats import stock_classes
from slimgpt.formats.gguf import hyperparameters
from slimgpt.spec.prune import Format

BLOCKS = (32, 256)  # weights of a row that share a scale: Q8_0 and Q4_0, K-quants
PARALLEL = (2, 4, 8, 16, 32)  # devices
FURTHER: tuple[Format, ...] = ("uniform", "padded", "gguf")
"""What is written beside `exact`, in this order."""
HINTS: dict[Format, str] = {
    "exact": "",
    "uniform": "choose format `padded`, which fills them up, or `gguf`",
    "padded": "use format `exact`",
    "gguf": "leave format `gguf` out",
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
        return "its layers are of different sizes"
    return stock_classes.obstacle(architecture, config, size)


def require(form: Format, architecture: Architecture, config: Mapping[str, Any]) -> None:
    """See that a model can be written in a format.

    Raises:
        SpecError: it cannot; says why.
    """
    if reason := obstacle(form, architecture, config):
        raise SpecError(f"format `{form}` cannot hold this model: {reason}", hint=HINTS[form])


def all_of(models: Sequence[Architecture], config: Mapping[str, Any]) -> list[FormatSupport]:
    """What the models of a job can be written as; a format that one cannot have is ruled out."""
    made = []
    for form in get_args(Format):
        reasons = (obstacle(form, model, config) for model in models)
        reason = next((one for one in reasons if one), "")
        made.append(FormatSupport(format=form, possible=not reason, reason=reason))
    return made


def loaders(architecture: Architecture) -> dict[str, str]:
    """What the sizes allow of loaders, each with its reason."""
    sizes = architecture.sizes
    effects = {f"{block}-blocks": _blocks(architecture, sizes, block) for block in BLOCKS}
    allowed = [n for n in PARALLEL if all(_divides(n, size) for size in sizes)]
    several = f"over {', '.join(map(str, allowed))} devices"
    if not allowed:
        several = "none; no number of devices divides heads, KV heads and FFN widths of all layers"
    effects["tensor parallel"] = f"tensor parallel: {several}"
    return effects


def sized(architecture: Architecture, sizes: Sequence[LayerSize]) -> Architecture:
    """An architecture with other layers."""
    return replace(architecture, sizes=tuple(sizes))


def _divides(number: int, size: LayerSize) -> bool:
    return not any(one % number for one in (size.heads, size.kv_heads, size.channels))


def _blocks(architecture: Architecture, sizes: Sequence[LayerSize], block: int) -> str:
    """Whether llama.cpp can quantise rows in blocks."""
    kind = "Q8_0, Q4_0" if block == 32 else "K-quants"
    rows = {"hidden size": [architecture.hidden]}
    rows["heads × head_dim"] = [size.heads * architecture.head_dim for size in sizes]
    rows["FFN width"] = [size.channels for size in sizes]
    off = [name for name, values in rows.items() if math.gcd(*values) % block]
    if not off:
        return f"{kind}: every row is a multiple of {block}"
    return f"{kind}: not for rows of {', '.join(off)} (no multiple of {block})"
