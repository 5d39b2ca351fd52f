"""Time by the database server's clock, independent of the workers' clocks.

Leases are compared by the server that stores the rows, so a worker with a wrong clock neither keeps
a job too long nor loses it too early. SQLite has no time zones: times are stored as UTC in
SQLAlchemy's text format and are returned as aware datetimes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, ScalarSelect, bindparam, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database; naive datetimes are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value!r} has no time zone; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class from_now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock plus `seconds` (negative for the past)."""

    type = UtcDateTime()
    name = "from_now"
    inherit_cache = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(bindparam(None, float(seconds)))


def moment(seconds: float = 0.0) -> ScalarSelect[datetime]:
    """`from_now`, evaluated once per statement; a volatile function prevents use of an index."""
    return select(from_now(seconds)).scalar_subquery()


@compiles(from_now, "postgresql")
def _postgresql(element: from_now, compiler: SQLCompiler, **kw: Any) -> str:
    # Not now(), which is the start of the transaction, possibly before a wait for a row lock.
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(from_now, "sqlite")
def _sqlite(element: from_now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    moved = f"'now', printf('%+.3f seconds', {seconds})"
    return f"strftime('%Y-%m-%d %H:%M:%f000', {moved})"
