"""Plots per layer: what was removed, reconstruction error, activation drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimgpt.report.document import Document
from slimgpt.report.plots.canvas import canvas, depth, line
from slimgpt.report.plots.svg import COLOURS, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ratios(document: Document) -> Figure:
    """Figure 4 of the paper: the share removed from each layer."""
    figure, (axes,) = canvas(2.7)
    layers = [one.layer for one in document.layers]
    for name, field, colour, style in (
        ("parameters", "parameters", "pruned", "-"),
        ("heads", "heads", "recovered", "--"),
        ("FFN channels", "channels", "other", ":"),
    ):
        shares = [_removed(one, field) for one in document.layers]
        line(axes, layers, shares, name, colour, style)
    axes.set_ylabel("share removed")
    axes.set_ylim(bottom=0)
    depth(figure, axes)
    return figure


ROUNDING = 1e-8
"""Smaller errors are those of a layer that lost nothing: on a logarithmic scale one of them would
press all others together.
"""


def errors(document: Document) -> Figure:
    """Relative error of each layer's attention and FFN output on the calibration tokens."""
    figure, (axes,) = canvas(2.7)
    layers = [one.layer for one in document.layers]
    sides = (("attention", "recovered", "--"), ("ffn", "pruned", "-"))
    found = False
    for side, colour, style in sides:
        values = [getattr(one, f"{side}_error") for one in document.layers]
        found = found or any(value > ROUNDING for value in values)
        drawn = [value if value > ROUNDING else float("nan") for value in values]
        line(axes, layers, drawn, "FFN" if side == "ffn" else side, colour, style)
    if found:
        _logarithmic(axes)
    axes.set_ylabel("share of squared output lost")
    depth(figure, axes)
    return figure


def drift(document: Document) -> Figure:
    """Figure 2 of the paper: growth of errors with depth."""
    figure, (axes,) = canvas(2.7)
    names = dict.fromkeys(one.model for one in document.drift)
    for name in names:
        mine = [one for one in document.drift if one.model == name]
        layers, colour = [one.layer for one in mine], name if name in COLOURS else "other"
        line(axes, layers, [one.stream for one in mine], f"{label(name)}, residual stream", colour)
        line(axes, layers, [one.ffn for one in mine], f"{label(name)}, FFN", colour, "--")
    axes.set_ylabel("relative squared error")
    axes.set_ylim(bottom=0)
    depth(figure, axes)
    return figure


def times(document: Document) -> Figure:
    """Seconds that each layer took."""
    figure, (axes,) = canvas(1.9)
    layers = [one.layer for one in document.layers]
    axes.bar(layers, [one.seconds for one in document.layers], 0.8, color=COLOURS["pruned"])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("seconds")
    depth(figure, axes)
    return figure


def _removed(layer: Any, field: str) -> float:
    before = getattr(layer, f"{field}_before")
    return 1 - getattr(layer, field) / before if before else 0.0


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers as tick labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
