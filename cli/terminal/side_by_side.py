"""A comparison in the terminal: a column per report, because there are many numbers in a row.

Where the columns do not fit, the reports are numbered, and stand in several blocks one below the
other. Nothing is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from cli.terminal.table import wide_console

if TYPE_CHECKING:
    from slimgpt.report.tables.cells import Cell, Table

Column = Sequence["Cell"]
GAP = 1  # between two columns
NAMES = 0.45  # share of a narrow screen for the names of the numbers
TEXT = 16  # characters of a text that stay on one line, if there are so many


def print_beside(table: Table) -> None:
    """Print a table whose rows are reports, the first cell of each being its name."""
    console = wide_console()
    whole = _grid(table.header, table.rows)
    unbounded = console.options.update(max_width=10**6)
    if Measurement.get(console, unbounded, whole).maximum <= console.width:
        console.print(whole)
    else:
        for number, row in enumerate(table.rows, 1):
            console.print(Text(f"{number}  {row[0].text}"), soft_wrap=True)
        for grid in _blocks(table, console):
            console.print()
            console.print(grid)
    console.print(Text(table.note, style="dim"))


def _grid(names: Sequence[str], columns: Sequence[Column], widths: Sequence[int] = ()) -> Grid:
    """The names of the numbers and a column per report.

    Args:
        widths: of the names and of each column; default: as wide as their content.
    """
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    known: list[int | None] = [*widths] or [None] * (1 + len(columns))
    first, *others = known
    grid.add_column(style="dim", overflow="fold", width=first)
    for width in others:
        grid.add_column(justify="right", overflow="fold", width=width)
    for place, name in enumerate(names):
        cells = (column[place] for column in columns)
        grid.add_row(Text(name), *(Text(cell.text, no_wrap=cell.numeric) for cell in cells))
    return grid


def _blocks(table: Table, console: Console) -> Iterator[Grid]:
    """The table with numbers for the reports' names, in blocks that fit the screen."""
    columns = [
        [replace(row[0], text=str(number)), *row[1:]] for number, row in enumerate(table.rows, 1)
    ]
    names = min(max(map(len, table.header)), round(console.width * NAMES))
    room = console.width - names - GAP
    while columns:
        widths: list[int] = []
        for column in columns:
            width = min(_width(column), room)
            if widths and sum(widths) + width + GAP * (1 + len(widths)) > room:
                break
            widths.append(width)
        yield _grid(table.header, columns[: len(widths)], (names, *widths))
        del columns[: len(widths)]


def _width(column: Column) -> int:
    """Characters that a column needs so that no number and no word is broken."""
    words = [
        [cell.text] if cell.numeric else [cell.text[:TEXT], *cell.text.split()] for cell in column
    ]
    return max(len(word) for one in words for word in one)
