"""Lists as tables. A pipe has no width: in it nothing is cut."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 400


def table_console() -> Console:
    """The terminal, or a pipe as wide as any row."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    whole: Collection[str] = (),
    right: Collection[str] = (),
) -> None:
    """Print rows under their columns; `whole` names those that are not folded in a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            column, no_wrap=column in whole, justify="right" if column in right else "left"
        )
    for row in rows:
        table.add_row(*map(escape, row))
    table_console().print(table)
