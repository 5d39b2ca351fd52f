"""Plots of a comparison: a measure over the ratio."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from slimgpt.events import ModelName
from slimgpt.report.comparison.measures import Measure, Reading
from slimgpt.report.comparison.rows import Row
from slimgpt.report.document import NAMES
from slimgpt.report.plots.canvas import ERROR, apart, canvas, legend
from slimgpt.report.plots.plots import Plot
from slimgpt.report.plots.svg import COLOURS, SERIES, drawing, inline, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*"
STYLES: dict[ModelName, str] = {"pruned": "-", "recovered": "--"}
Point = tuple[float, Reading]


def plot(compared: Sequence[Row], measure: Measure, table: str) -> Plot:
    """The plot of a measure.

    Args:
        table: name of the table with the same numbers.
    """
    name, behind = f"{table}-plot", "The numbers are in the table below."
    with drawing():
        svg = inline(over_ratio(compared, measure), name, measure.title, behind)
    return Plot(name, table, measure.title, svg)


def over_ratio(compared: Sequence[Row], measure: Measure) -> Figure:
    """One line for each method and recipe, or for each model by each, with the dense model as
    reference."""
    lines = _lines(compared, measure)
    names = _names(compared)
    figure, (axes,) = canvas(3.2)
    looks = dict(zip(names, cycle(zip(SERIES, MARKERS, strict=True)), strict=False))
    for (key, name), points in lines.items():
        colour, marker = looks[key]
        _line(axes, sorted(points, key=lambda point: point[0]), colour, marker, STYLES[name],
              f"{names[key]}, {name}")  # fmt: skip
    _dense(axes, compared, measure)
    axes.set_xlabel("share of parameters removed")
    axes.set_ylabel("multiple of its own dense value" if measure.relative else "")
    axes.set_xlim(left=-0.01)
    legend(figure, axes)
    return figure


def _names(compared: Sequence[Row]) -> dict[tuple[str, str], str]:
    """What tells the lines apart: the method, and the model if there are several."""
    keys = dict.fromkeys((row["model"], row["method"]) for row in compared)
    several = len({model for model, _ in keys}) > 1
    return {
        (model, method): (f"{label(model, 24)}, " if several else "") + label(method, 44)
        for model, method in keys
    }


def _lines(
    compared: Sequence[Row], measure: Measure
) -> dict[tuple[tuple[str, str], ModelName], list[Point]]:
    found: dict[tuple[tuple[str, str], ModelName], list[Point]] = {}
    for row, readings in zip(compared, measure.readings, strict=True):
        for name in NAMES[1:]:
            if name in readings:
                key = (row["model"], row["method"])
                found.setdefault((key, name), []).append((row["ratio"], readings[name]))
    return found


def _line(
    axes: Axes, points: Sequence[Point], colour: str, marker: str, style: str, name: str
) -> None:
    x = [ratio for ratio, _ in points]
    y = [reading.value for _, reading in points]
    axes.plot(x, y, style, color=colour, marker=marker, markersize=4.5, label=name)
    for ratio, one in points:
        if one.interval is not None:
            below, above = apart(one.value, one.interval)
            axes.errorbar([ratio], [one.value], yerr=[[below], [above]], fmt="none", **ERROR)


def _dense(axes: Axes, compared: Sequence[Row], measure: Measure) -> None:
    """The dense models as marks at ratio 0; of multiples, a line at 1."""
    if measure.relative:
        axes.axhline(1.0, color=COLOURS["dense"], linewidth=1.0, linestyle=":", label="dense")
        return
    values = dict.fromkeys(one["dense"].value for one in measure.readings if "dense" in one)
    if values:
        axes.plot([0.0] * len(values), list(values), "s", color=COLOURS["dense"], markersize=5,
                  label="dense")  # fmt: skip
