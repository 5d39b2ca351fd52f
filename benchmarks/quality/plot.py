"""Perplexity over ratio or calibration windows: a line a method, a panel a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from slimgpt.report.plots import canvas, svg

DENSE = "dense"
Over = Literal["ratio", "samples"]
LABELS: Mapping[Over, str] = {
    "ratio": "share of all parameters removed",
    "samples": "calibration windows",
}


def write(file: Path, rows: Sequence[Mapping[str, Any]], over: Over = "ratio") -> None:
    """Draw the rows that were measured.

    Args:
        over: the horizontal axis. Of several rows at one place of it the last is drawn, and over
            calibration windows no method that has only one.
    """
    texts = list(dict.fromkeys(name for row in rows for name in row["perplexity"]))
    if not texts:
        return
    with svg.drawing():
        figure, panels = canvas.canvas(3.4, len(texts))
        for text, axes in zip(texts, panels, strict=True):
            _panel(axes, text, rows, over)
        canvas.legend(figure, panels[0])
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(axes: Any, text: str, rows: Sequence[Mapping[str, Any]], over: Over) -> None:
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        if text in row["perplexity"]:
            lines.setdefault(row["method"], {})[row[over]] = row["perplexity"][text]
    dense = lines.pop(DENSE, {})
    if over == "samples":
        axes.set_xscale("log", base=2)
        axes.axhline(*dense.values(), color="gray", linewidth=0.8, linestyle="--")
        lines, dense = {name: points for name, points in lines.items() if len(points) > 1}, {}
    for method, points in lines.items():
        places = sorted({**dense, **points}.items())
        axes.plot(*zip(*places, strict=True), marker="o", markersize=3.5, label=method)
    axes.set_yscale("log")
    axes.set_title(text)
    axes.set_xlabel(LABELS[over])
    axes.set_ylabel("perplexity")
