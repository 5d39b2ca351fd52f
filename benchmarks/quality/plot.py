"""Perplexity over the share removed, a line a method and a panel a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimgpt.report.plots import canvas, svg

DENSE = "dense"


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the rows that were measured; of several seeds or calibrations the last is drawn."""
    texts = list(dict.fromkeys(name for row in rows for name in row["perplexity"]))
    if not texts:
        return
    with svg.drawing():
        figure, panels = canvas.canvas(3.4, len(texts))
        for text, axes in zip(texts, panels, strict=True):
            _panel(axes, text, rows)
        canvas.legend(figure, panels[0])
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(axes: Any, text: str, rows: Sequence[Mapping[str, Any]]) -> None:
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        if text in row["perplexity"]:
            lines.setdefault(row["method"], {})[row["ratio"]] = row["perplexity"][text]
    dense = lines.pop(DENSE, {})
    for method, points in lines.items():
        places = sorted({**dense, **points}.items())
        axes.plot(*zip(*places, strict=True), marker="o", markersize=3.5, label=method)
    axes.set_yscale("log")
    axes.set_title(text)
    axes.set_xlabel("share of all parameters removed")
    axes.set_ylabel("perplexity")
