"""Shared plot elements: axes of the page's width, legend, bars, lines over depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slimgpt.events import Interval, ModelName
from slimgpt.report.plots.svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.4  # inches, of 72 units: as wide as the page's column
LINE = 100  # characters that fit a line of the figure's width
SWATCH = 7  # characters that a line's sample takes
LINE_HEIGHT = 0.19  # inches of a legend's line
MARKED = 40  # most points of a line for which each point has a marker
Error = float | tuple[float, float]
ERROR: dict[str, Any] = {"elinewidth": 1.0, "capsize": 2.5, "ecolor": "#2b2f36"}


def canvas(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width with axes side by side; height in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def legend(figure: Figure, axes: Axes) -> None:
    """A legend above the axes, in as many columns as fit; the figure grows by its lines."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    longest = max(map(len, names))
    columns = max(1, min(len(names), 4, int(LINE / (longest + SWATCH))))
    lines = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + (lines - 1) * LINE_HEIGHT)
    figure.legend(handles, names, loc="outside upper left", ncols=columns)


def bars(
    axes: Axes,
    groups: Sequence[str],
    series: Sequence[tuple[ModelName, Sequence[float | None], Sequence[Error | None]]],
) -> None:
    """Grouped bars, with error bars where an error is known: one to both sides, or one each."""
    width = 0.8 / len(series)
    for place, (name, values, errors) in enumerate(series):
        offset = (place - (len(series) - 1) / 2) * width
        at = [index + offset for index in range(len(groups))]
        axes.bar(
            at,
            [value or 0.0 for value in values],
            width * 0.92,
            yerr=_sides(errors) if any(errors) else None,
            color=COLOURS[name],
            label=name,
            error_kw=ERROR,
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _sides(errors: Sequence[Error | None]) -> list[list[float]]:
    """Lengths of the error bars below and above."""
    pairs = [one if isinstance(one, tuple) else (one or 0.0, one or 0.0) for one in errors]
    return [[below for below, _ in pairs], [above for _, above in pairs]]


def apart(value: float, interval: Interval) -> tuple[float, float]:
    """How far an interval reaches below and above a value."""
    return max(0.0, value - interval[0]), max(0.0, interval[1] - value)


def line(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    name: str,
    colour: str,
    style: str = "-",
) -> None:
    """A line, with a marker at each point if there are at most `MARKED`."""
    marker = "o" if len(x) <= MARKED else None
    axes.plot(x, y, style, color=COLOURS[colour], label=name, marker=marker, markersize=3.5)


def depth(figure: Figure, axes: Axes) -> None:
    """Label an axis of layers, with a legend above."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("layer")
    legend(figure, axes)
