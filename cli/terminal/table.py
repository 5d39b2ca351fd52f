"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 400


def wide_console() -> Console:
    """Standard output; in a pipe, wide enough that nothing is cut."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole: Container[str] = (),
    right: Container[str] = (),
) -> None:
    """Print rows under the names of their columns; cells of `whole` columns are not wrapped."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, no_wrap=column in whole, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(escape, row))
    wide_console().print(table)
