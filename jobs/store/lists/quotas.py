"""Quota of unfinished jobs per owner, enforced without races."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from jobs.states import UNFINISHED
from jobs.store.tables import JOBS


class QuotaReached(Exception):  # noqa: N818 - says what is the case
    """The owner has reached the limit of unfinished jobs."""


def require_within(connection: Connection, owner: str, most: int) -> None:
    """Check the number of an owner's unfinished jobs, including those added by this transaction.

    Of two concurrent transactions, the second waits here for the first and counts its job: by an
    advisory lock on PostgreSQL; on SQLite the transaction holds the only write lock.

    Raises:
        QuotaReached: there are more than `most`; roll the transaction back.
    """
    if connection.dialect.name == "postgresql":
        name = func.hashtextextended(f"quota {owner}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(name)))
    unfinished = select(func.count()).where(JOBS.c.owner == owner, JOBS.c.status.in_(UNFINISHED))
    if connection.execute(unfinished).scalar_one() > most:
        raise QuotaReached(f"{owner} has {most} unfinished jobs, which is the limit")
