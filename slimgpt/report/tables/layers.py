"""Tables per layer: sizes, errors, time, activation drift."""

from __future__ import annotations

from slimgpt.report.document import Document
from slimgpt.report.tables.cells import Cell, Table, derived, number, words


def layers(document: Document) -> Table:
    """Kept heads and channels, errors, damping and time of every layer."""
    rows = []
    for index, one in enumerate(document.layers):
        at = f"/layers/{index}"
        whole = one.parameters_before
        rows.append(
            (
                number(one.layer, f"{at}/layer", "whole"),
                *_kept(one.heads, one.heads_before, at, "heads"),
                *_kept(one.kv_heads, one.kv_heads_before, at, "kv_heads"),
                *_kept(one.channels, one.channels_before, at, "channels"),
                derived(1 - one.parameters / whole if whole else None, "percent"),
                number(one.attention_error, f"{at}/attention_error", "fine"),
                number(one.ffn_error, f"{at}/ffn_error", "fine"),
                number(max(one.attention_damping, one.ffn_damping), _damped(document, index),
                       "fine"),
                number(one.seconds, f"{at}/seconds", "seconds"),
            )
        )  # fmt: skip
    header = (
        *("Layer", "Heads", "of", "KV heads", "of", "Channels", "of", "Removed"),
        *("Attention error", "FFN error", "Damping", "Time"),
    )
    note = (
        "Heads and channels kept in each layer. Error: relative squared error of the output of "
        "attention or FFN on the calibration tokens. Damping: the larger of the two values used."
    )
    return Table("layers", "Layers", header, rows, note)


def drift(document: Document) -> Table:
    """Figure 2 of the paper as numbers."""
    rows = [
        (
            words(one.model),
            number(one.layer, f"/drift/{index}/layer", "whole"),
            number(one.stream, f"/drift/{index}/stream", "fine"),
            number(one.ffn, f"/drift/{index}/ffn", "fine"),
        )
        for index, one in enumerate(document.drift)
    ]
    header = ("Model", "Layer", "Residual stream", "FFN")
    note = (
        "‖pruned − dense‖² / ‖dense‖² of the activations after each layer: the residual stream, "
        "and the FFN's output."
    )
    return Table("drift", "Drift from the dense model", header, rows, note)


def _damped(document: Document, index: int) -> str:
    one = document.layers[index]
    name = "attention" if one.attention_damping >= one.ffn_damping else "ffn"
    return f"/layers/{index}/{name}_damping"


def _kept(after: int, before: int, at: str, name: str) -> tuple[Cell, Cell]:
    return number(after, f"{at}/{name}", "whole"), number(before, f"{at}/{name}_before", "whole")
