"""`Order`: the order of a job list as SQL, and the cursors of its pages.

A page begins after the last row of the page before it, by the value of its sort key and its id
(keyset pagination): rows that come or go meanwhile neither repeat nor hide others. Rows without
a value come last in both directions; rows of one value, newest first.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy.dialects.postgresql import JSONB

from jobs.cursors import InvalidCursor, make_cursor, read_cursor
from jobs.states import Status
from jobs.store.lists.filters import NAME
from jobs.store.tables import JOBS

PREFIX = "job_"
VALUE = "sort_value"
MAX_INTEGER = 2**63
"""Of what SQLite takes."""


class SortKey(StrEnum):
    """What a list can be sorted by."""

    CREATED_AT = "created_at"
    NAME = "name"
    STATUS = "status"
    OWNER = "owner"
    RATIO = "ratio"
    PROGRESS = "progress"
    PARAMETERS = "parameters"
    PERPLEXITY = "perplexity"


TEXTS = {SortKey.NAME, SortKey.STATUS, SortKey.OWNER}
PATHS = {
    SortKey.RATIO: (("result", "ratio_achieved"), ("plan", "ratio_achieved"), ("spec", "ratio")),
    SortKey.PARAMETERS: (("result", "parameters_after"), ("plan", "parameters_after")),
    SortKey.PERPLEXITY: (
        ("result", "perplexity", "0", "recovered"),
        ("result", "perplexity", "0", "pruned"),
    ),
}
"""Where the JSON of a row has the value of a key; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list: `Order(SortKey.NAME)`, or newest first if nothing is said."""

    key: SortKey = SortKey.CREATED_AT
    descending: bool = True

    @classmethod
    def parse(cls, text: str) -> Order:
        """The order that a text names: a key, after `-` if it descends.

        Raises:
            ValueError: there is no such key.
        """
        return cls(SortKey(text.removeprefix("-")), text.startswith("-"))

    def __str__(self) -> str:
        return f"{'-' * self.descending}{self.key}"

    def apply(self, statement: Select[Any], dialect: str, cursor: str | None) -> Select[Any]:
        """The statement in this order, after a cursor; its rows have the value for the next one.

        Args:
            statement: selects of `JOBS`.
            dialect: `sqlite` or `postgresql`.
            cursor: from `cursor_after`; None: from the start.

        Raises:
            InvalidCursor: the cursor does not belong to a list in this order.
        """
        if self.key is SortKey.CREATED_AT:  # an id begins with the time
            return self._by_id(statement, cursor)
        value = _expression(self.key, dialect)
        directed = value.desc() if self.descending else value.asc()
        statement = statement.add_columns(value.label(VALUE))
        statement = statement.order_by(value.is_(None), directed, JOBS.c.id.desc())
        if cursor is None:
            return statement
        last, last_id = self._read(cursor)
        earlier = JOBS.c.id < last_id
        if last is None:
            return statement.where(value.is_(None), earlier)
        bound = literal(last, value.type)
        beyond = value < bound if self.descending else value > bound
        return statement.where(or_(beyond, and_(value == bound, earlier), value.is_(None)))

    def cursor_after(self, row: Any) -> str:
        """The cursor of the page after a row of the statement that `apply` gave."""
        if self.key is SortKey.CREATED_AT:
            return make_cursor(row["id"])
        value = row[VALUE]
        if isinstance(value, int) and abs(value) >= MAX_INTEGER:
            value = float(value)  # which it was: PostgreSQL writes numbers out, 1e300 too
        position = json.dumps([str(self), value, row["id"]], separators=(",", ":"))
        return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")

    def _by_id(self, statement: Select[Any], cursor: str | None) -> Select[Any]:
        statement = statement.order_by(JOBS.c.id.desc() if self.descending else JOBS.c.id)
        if cursor is None:
            return statement
        last_id = read_cursor(cursor, PREFIX)
        beyond = JOBS.c.id < last_id if self.descending else JOBS.c.id > last_id
        return statement.where(beyond)

    def _read(self, cursor: str) -> tuple[Any, str]:
        """The value and the id that a cursor stands for."""
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
            order, value, last_id = json.loads(text)
            belongs = order == str(self) and self._holds(value)
            if belongs and last_id.startswith(PREFIX) and last_id.isprintable():
                return value, last_id
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
            pass
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list, sorted by {self}")

    def _holds(self, value: Any) -> bool:
        """Whether the key can have a value."""
        if value is None:
            return True
        if self.key in TEXTS:
            return isinstance(value, str) and "\0" not in value and bool(value.encode())
        if isinstance(value, int):
            return not isinstance(value, bool) and abs(value) < MAX_INTEGER
        return isinstance(value, float) and math.isfinite(value)


def _expression(key: SortKey, dialect: str) -> ColumnElement[Any]:
    """What is compared; NULL where a job has nothing to compare."""
    if key is SortKey.NAME:
        return func.lower(NAME)
    if key in TEXTS:
        return JOBS.c[key.value]
    if key is SortKey.PROGRESS:
        done = cast(JOBS.c.layers_done, Double) / func.nullif(JOBS.c.layers_total, 0)
        return case((JOBS.c.status == Status.SUCCEEDED, 1.0), else_=done)
    found = [_number(dialect, column, *steps) for column, *steps in PATHS[key]]
    return func.coalesce(*found, type_=found[0].type)


def _number(dialect: str, column: str, *steps: str) -> ColumnElement[Any]:
    """A number in a column of JSON, as the database compares it; NULL if it is none."""
    if dialect == "postgresql":
        value = JOBS.c[column][tuple(steps)]
        kind = func.jsonb_typeof(value) == "number"
        return case((kind, value), else_=literal_column("NULL")).cast(JSONB)
    path = "$" + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps)
    kind = func.json_type(JOBS.c[column], path).in_(("integer", "real"))
    return case((kind, func.json_extract(JOBS.c[column], path)), else_=None)
