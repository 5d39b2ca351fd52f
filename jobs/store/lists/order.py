"""`Order`: the order of a job list as SQL, and the cursors of its pages.

A page begins after the last row of the page before it, by the value of its sort key and its id
(keyset pagination): rows that come or go meanwhile neither repeat nor hide others. Rows without
a value come last in both directions; rows of one value, newest first.

What is sorted by is a column with an index, except the progress: an index on it would grow with
every finished layer (`docs/scale.md`). So only jobs under way are compared by it, which are few:
those that succeeded are further than all of them, those that failed or were cancelled have none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, cast, func, literal, null, or_

from jobs.cursors import InvalidCursor, decode, encode, is_id, make_cursor, read_cursor
from jobs.states import UNFINISHED, Status
from jobs.store.tables import JOBS

PREFIX = "job_"
VALUE = "sort_value"


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


DONE = cast(JOBS.c.layers_done, Double) / func.nullif(JOBS.c.layers_total, 0)
VALUES: dict[SortKey, ColumnElement[Any]] = {
    SortKey.NAME: JOBS.c.sort_name,
    SortKey.OWNER: JOBS.c.owner,
    SortKey.RATIO: JOBS.c.sort_ratio,
    SortKey.PARAMETERS: JOBS.c.sort_parameters,
    SortKey.PERPLEXITY: JOBS.c.sort_perplexity,
}
"""What is compared; NULL where a job has nothing to compare."""
SUCCEEDED = 2.0
"""Progress of a job that succeeded; that of one whose layers are all done is 1."""
NOT_SUCCEEDED = frozenset(Status) - {Status.SUCCEEDED}
TEXTS = {SortKey.NAME, SortKey.STATUS, SortKey.OWNER}


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

    def parts(self, statement: Select[Any], cursor: str | None) -> Iterator[Select[Any]]:
        """The statement in this order, after a cursor, in parts that follow each other.

        Each is read from an index. Rows with a value and rows without one are apart: an index has
        missing values at one end, and so at the wrong end in one of the directions.

        Args:
            statement: selects of `JOBS`.
            cursor: from `cursor_after`; None: from the start.

        Raises:
            InvalidCursor: the cursor does not belong to a list in this order.
        """
        if self.key is SortKey.CREATED_AT:  # an id begins with the time
            yield self._by_id(statement, cursor)
            return
        if self.key is SortKey.STATUS:
            yield from self._by_status(statement, cursor)
            return
        last, last_id = (None, None) if cursor is None else self._read(cursor)
        if self.key is SortKey.PROGRESS:
            there, missing = self._by_progress(statement, last, last_id)
        else:
            value = VALUES[self.key]
            there = [self._by_value(statement, value, last, last_id)]
            missing = statement.add_columns(value.label(VALUE)).where(value.is_(None))
        if last_id is None or last is not None:
            yield from there
            yield missing.order_by(JOBS.c.id.desc())
        else:
            yield missing.where(JOBS.c.id < last_id).order_by(JOBS.c.id.desc())

    def cursor_after(self, row: Any) -> str:
        """The cursor of the page after a row of the statements that `parts` gave."""
        if self.key is SortKey.CREATED_AT:
            return make_cursor(row["id"])
        return encode(json.dumps([str(self), row[VALUE], row["id"]], separators=(",", ":")))

    def _by_id(self, statement: Select[Any], cursor: str | None) -> Select[Any]:
        statement = statement.order_by(JOBS.c.id.desc() if self.descending else JOBS.c.id)
        if cursor is None:
            return statement
        last_id = read_cursor(cursor, PREFIX)
        beyond = JOBS.c.id < last_id if self.descending else JOBS.c.id > last_id
        return statement.where(beyond)

    def _by_value(
        self, statement: Select[Any], value: ColumnElement[Any], last: Any, last_id: str | None
    ) -> Select[Any]:
        """The rows that have a value, after one with the value `last`; None: from the start."""
        directed = value.desc() if self.descending else value.asc()
        there = statement.add_columns(value.label(VALUE)).where(value.is_not(None))
        if last is not None:
            bound = literal(last, value.type)
            beyond = value < bound if self.descending else value > bound
            # The first condition follows from the second, and tells where to begin in the index.
            there = there.where(value <= bound if self.descending else value >= bound)
            there = there.where(or_(beyond, JOBS.c.id < last_id))
        return there.order_by(directed, JOBS.c.id.desc())

    def _by_progress(
        self, statement: Select[Any], last: float | None, last_id: str | None
    ) -> tuple[list[Select[Any]], Select[Any]]:
        """The parts with progress, after `last`, and the one without."""
        status = JOBS.c.status
        over = statement.add_columns(literal(SUCCEEDED, Double).label(VALUE))
        over = over.where(status == Status.SUCCEEDED).order_by(JOBS.c.id.desc())
        going = self._by_value(statement.where(status.in_(UNFINISHED)), DONE, last, last_id)
        if last == SUCCEEDED:
            over = over.where(JOBS.c.id < last_id)
        if self.descending:
            there = [over, going] if last in (None, SUCCEEDED) else [going]
        else:
            there = [over] if last == SUCCEEDED else [going, over]
        missing = statement.add_columns(null().label(VALUE)).where(status.in_(NOT_SUCCEEDED))
        return there, missing.where(or_(status.not_in(UNFINISHED), DONE.is_(None)))

    def _by_status(self, statement: Select[Any], cursor: str | None) -> Iterator[Select[Any]]:
        """A part for each status: they are few, and one may be that of nearly all jobs."""
        last, last_id = (None, "") if cursor is None else self._read(cursor)
        newest_first = statement.add_columns(JOBS.c.status.label(VALUE)).order_by(JOBS.c.id.desc())
        for status in sorted(Status, reverse=self.descending):
            part = newest_first.where(JOBS.c.status == status)
            if last is None:
                yield part
            elif status == last:
                last = None
                yield part.where(JOBS.c.id < last_id)

    def _read(self, cursor: str) -> tuple[Any, str]:
        """The value and the id that a cursor stands for."""
        try:
            order, value, last_id = json.loads(decode(cursor))
            if order == str(self) and self._holds(value) and is_id(last_id, PREFIX):
                return value, last_id
        except (ValueError, TypeError, RecursionError):
            pass
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list, sorted by {self}")

    def _holds(self, value: Any) -> bool:
        """Whether the key can have a value."""
        if value is None:
            return True
        if self.key in TEXTS:
            return isinstance(value, str) and "\0" not in value and bool(value.encode())
        return isinstance(value, float) and math.isfinite(value)
