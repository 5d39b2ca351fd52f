"""`Table` and its cells, each number with its JSON pointer into `report.json`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from slimgpt.events import Interval
from slimgpt.spec.sizes import short_count, short_size

Form = Literal[
    "whole", "number", "fine", "percent", "score", "size", "count", "seconds", "times", "bare"
]
FORMS: dict[Form, Callable[[float], str]] = {
    "whole": lambda value: f"{value:,.0f}",
    "number": lambda value: f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}",
    "fine": lambda value: f"{value:.3g}",
    "percent": lambda value: f"{value:.1%}",
    "score": lambda value: f"{value:.4f}",
    "size": lambda value: short_size(int(value)),
    "count": lambda value: short_count(int(value)),
    "seconds": lambda value: f"{value:,.1f} s",
    "times": lambda value: f"×{value:.3g}",
    "bare": str,
}
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        text: the displayed text.
        at: JSON pointer to the value in `report.json`; empty if it is not a value of the report.
        value: the number; None for text.
        derived: whether it was computed from other values of the row.
    """

    text: str
    at: str = ""
    value: float | None = None
    derived: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the cell is a number or a missing number."""
        return self.value is not None or self.derived or self.text == NOTHING


@dataclass(frozen=True)
class Table:
    """Rows with a header; `name` is the anchor in the HTML page."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def printable(text: object) -> str:
    """Untrusted text on one line, without control characters."""
    flat = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in flat)


def words(text: object) -> Cell:
    """A text cell."""
    return Cell(printable(text))


def number(value: float | None, at: str, form: Form = "number") -> Cell:
    """A cell with a number of the report; None: not measured.

    Args:
        at: JSON pointer to the number.
    """
    return Cell(NOTHING) if value is None else Cell(FORMS[form](value), at, value)


def derived(value: float | None, form: Form) -> Cell:
    """A cell with a number computed from other values of its row."""
    return Cell(NOTHING if value is None else FORMS[form](value), derived=True)


def change(value: float | None, base: float | None) -> Cell:
    """Relative change of a value against a base, as a signed percentage."""
    if value is None or not base:
        return Cell(NOTHING, derived=True)
    return Cell(f"{value / base - 1:+.1%}".replace("-", "−"), derived=True)


def between(interval: Interval | None, form: Form = "number") -> Cell:
    """A cell with the two ends of an interval."""
    if interval is None:
        return Cell(NOTHING, derived=True)
    low, high = map(FORMS[form], interval)
    return Cell(f"{low} to {high}", derived=True)


def pointer(name: str) -> str:
    """A key, escaped for a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
