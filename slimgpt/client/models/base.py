"""`Model`: the base of all answers, shown as a table in terminals (rich) and notebooks (HTML)."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from rich.table import Table

Row = Sequence[str]


class Rows(NamedTuple):
    """A table's text.

    Attributes:
        header: names of the columns; empty: rows are names and values.
        right: the columns with numbers, by position.
        title: a line above.
    """

    header: Row
    rows: Sequence[Row]
    right: frozenset[int] = frozenset()
    title: str = ""

    def table(self, whole: Container[str] = (), colours: Mapping[str, str] | None = None) -> Table:
        """For terminals; no text is cut.

        Args:
            whole: columns whose cells are not wrapped.
            colours: styles of cells with these texts.
        """
        from rich.markup import escape as plain
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(self.header))
        grid.title, grid.title_justify = plain(self.title) or None, "left"
        for place, name in enumerate(self.header or ("", "")):
            grid.add_column(
                name,
                justify="right" if place in self.right else "left",
                overflow="fold",
                no_wrap=name in whole,
                style="" if self.header or place else "bold",
            )
        for row in self.rows:
            grid.add_row(*(Text(cell, (colours or {}).get(cell, "")) for cell in row))
        return grid

    def html(self) -> str:
        """For notebooks."""
        names = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        head = f"<thead><tr>{names}</tr></thead>" if names else ""
        body = "".join(f"<tr>{self._cells(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}{head}<tbody>{body}</tbody></table>"

    def _cells(self, row: Row) -> str:
        cells = []
        for place, cell in enumerate(row):
            tag, kind = ("td", "") if self.header or place else ("th", ' scope="row"')
            align = "right" if place in self.right else "left"
            cells.append(f'<{tag}{kind} style="text-align: {align}">{escape(cell)}</{tag}>')
        return "".join(cells)


class Shown:
    """Something that is shown as a table."""

    def rows(self) -> Rows:
        """The table's text."""
        raise NotImplementedError

    def __rich__(self) -> Table:
        return self.rows().table()

    def _repr_html_(self) -> str:
        return self.rows().html()


class Model(BaseModel, Shown):
    """Base of the answers."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    def rows(self) -> Rows:
        """Every field with its value."""
        return Rows((), [(name, _text(value)) for name, value in self.raw.items()])

    @property
    def raw(self) -> dict[str, Any]:
        """The JSON object, as the service sent it."""
        return self.model_dump(mode="json", exclude_unset=True)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(one)}" for name, one in value.items())
    return "" if value is None else str(value)
