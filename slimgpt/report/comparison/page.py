"""The page of a comparison: the models, then each measure as a plot with its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slimgpt.report.comparison.measures import measures
from slimgpt.report.comparison.plots import plot
from slimgpt.report.comparison.rows import Row
from slimgpt.report.comparison.table import models, of_measure
from slimgpt.report.html_page import fill
from slimgpt.report.plots.plots import Plot
from slimgpt.report.tables.cells import Table


@dataclass(frozen=True)
class Section:
    """A measure of the page; `plot` is None for times."""

    name: str
    table: Table
    plot: Plot | None


def page(compared: Sequence[Row], verdict: str = "") -> str:
    """The comparison as a self-contained HTML page.

    Args:
        verdict: summary at the top of the page.
    """
    sections = [
        Section(name, of_measure(compared, one, name),
                plot(compared, one, name) if one.plotted else None)
        for name, one in ((f"measure-{place}", one) for place, one in
                          enumerate(measures(compared)))
    ]  # fmt: skip
    content = {"models": models(compared), "sections": sections, "rows": compared}
    return fill("comparison.html.j2", verdict=verdict, **content)
