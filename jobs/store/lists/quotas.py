"""Quota of unfinished jobs per owner, enforced without races."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from jobs.states import UNFINISHED
from jobs.store.database import lock_owner
from jobs.store.tables import JOBS


class QuotaReached(Exception):  # noqa: N818 - says what is the case
    """The owner has reached the limit of unfinished jobs."""


def require_within(connection: Connection, owner: str, most: int) -> None:
    """Check the number of an owner's unfinished jobs, including those added by this transaction.

    Of two concurrent transactions, the second waits here for the first and counts its job.

    Raises:
        QuotaReached: there are more than `most`; roll the transaction back.
    """
    lock_owner(connection, "quota", owner)
    unfinished = select(func.count()).where(JOBS.c.owner == owner, JOBS.c.status.in_(UNFINISHED))
    if connection.execute(unfinished).scalar_one() > most:
        raise QuotaReached(f"{owner} has {most} unfinished jobs, which is the limit")
