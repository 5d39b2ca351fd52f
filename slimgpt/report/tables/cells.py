"""`Table` and its cells, each number with its JSON pointer into `report.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from slimgpt.spec.sizes import short_count, short_size

Form = Literal["whole", "number", "fine", "percent", "score", "size", "count", "seconds", "bare"]
FORMS: dict[Form, Callable[[float], str]] = {
    "whole": lambda value: f"{value:,.0f}",
    "number": lambda value: f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}",
    "fine": lambda value: f"{value:.3g}",
    "percent": lambda value: f"{value:.1%}",
    "score": lambda value: f"{value:.4f}",
    "size": lambda value: short_size(int(value)),
    "count": lambda value: short_count(int(value)),
    "seconds": lambda value: f"{value:,.1f} s",
    "bare": str,
}
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: as people read it.
        at: a JSON pointer into `report.json`; empty where it does not come from there as it is.
        value: the number itself; None for words.
        derived: it was computed from numbers that stand beside it.
    """

    text: str
    at: str = ""
    value: float | None = None
    derived: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it is a number, or stands where one could."""
        return self.value is not None or self.derived or self.text == NOTHING


@dataclass(frozen=True)
class Table:
    """Rows under a header, with a name that serves as anchor in a page."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def printable(text: object) -> str:
    """A stranger's words without what would control a terminal or break a line."""
    flat = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in flat)


def words(text: object) -> Cell:
    """A cell of words."""
    return Cell(printable(text))


def number(value: float | None, at: str, form: Form = "number") -> Cell:
    """A cell with a number of the report; None: it was not measured.

    Args:
        at: its JSON pointer.
    """
    return Cell(NOTHING) if value is None else Cell(FORMS[form](value), at, value)


def derived(value: float | None, form: Form) -> Cell:
    """A cell with a number that was computed from others of its row."""
    return Cell(NOTHING if value is None else FORMS[form](value), derived=True)


def change(value: float | None, base: float | None) -> Cell:
    """How much larger a value is than another, as a share with its sign."""
    if value is None or not base:
        return Cell(NOTHING, derived=True)
    return Cell(f"{value / base - 1:+.1%}".replace("-", "−"), derived=True)


def pointer(name: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
