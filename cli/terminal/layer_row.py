"""One decoder layer as a table row, printed as soon as it is finished."""

from __future__ import annotations

from rich.text import Text

from slimgpt.events import LayerFinished
from slimgpt.spec.planned_sizes import PlannedLayer

# Fixed widths: rows are printed as layers finish, before the later ones are known.
SIZES = (("layer", 5), ("heads", 6), ("kv", 5), ("channels", 11), ("parameters", 13))
MEASURES = (("attn err", 8), ("ffn err", 8), ("damping", 9), ("seconds", 7))
WIDTHS = tuple(width for _, width in SIZES + MEASURES)


def aligned(*cells: str) -> str:
    """Cells in the table's columns."""
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))


HEADER = aligned(*(name for name, _ in SIZES + MEASURES))
PLAN_HEADER = aligned(*(name for name, _ in SIZES), "removed")


def layer_row(layer: LayerFinished) -> Text:
    """What is left of everything, relative errors, the damping that was needed, seconds."""
    row = aligned(
        *sizes(layer),
        f"{layer.attention_error:.4f}",
        f"{layer.ffn_error:.4f}",
        _damping(layer),
        "resumed" if layer.resumed else f"{layer.seconds:.1f}",
    )
    return Text(row, style="dim" if layer.resumed else "")


def sizes(layer: PlannedLayer) -> tuple[str, ...]:
    """The layer's number, and kept/before of its parts."""
    return (
        str(layer.layer),
        f"{layer.heads}/{layer.heads_before}",
        f"{layer.kv_heads}/{layer.kv_heads_before}",
        f"{layer.channels}/{layer.channels_before}",
        f"{short(layer.parameters)}/{short(layer.parameters_before)}",
    )


def short(count: int) -> str:
    """A count in a few digits: 812, 51.3K, 6.74B."""
    for unit, scale in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= scale:
            scaled = count / scale
            return f"{scaled:.2f}{unit}" if scaled < 10 else f"{scaled:.1f}{unit}"
    return str(count)


def _damping(layer: LayerFinished) -> str:
    attention, ffn = layer.attention_damping, layer.ffn_damping
    return f"{attention:g}" if attention == ffn else f"{attention:g}/{ffn:g}"
