"""Job counts and queue age for metrics, from indexes only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from jobs.states import HELD, Status
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY
from jobs.store.lists.counts import count_jobs
from jobs.store.tables import JOBS
from jobs.store.webhooks.deliveries import count_deliveries


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """Counts of jobs.

    Attributes:
        by_status: number of jobs, for every status.
        oldest_queued_seconds: age of the oldest queued job; 0 if none is queued.
        expired_leases: expired leases not yet handled by a reaper.
        deliveries: webhook deliveries in the log, by status.
    """

    by_status: dict[str, int]
    oldest_queued_seconds: float
    expired_leases: int
    deliveries: dict[str, int]


def take(engine: Engine) -> JobStatistics:
    """Query the counts.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database does not respond.
    """
    # By the database's clock; this machine's may be wrong.
    oldest = select(from_now(), func.min(JOBS.c.queued_at)).where(JOBS.c.status == Status.QUEUED)
    expired = select(func.count()).where(
        JOBS.c.status.in_(HELD), JOBS.c.lease_expires_at < from_now()
    )
    with engine.execution_options(**READ_ONLY).connect() as connection:
        now, since = connection.execute(oldest).one()
        silent = connection.scalar(expired) or 0
    waited = 0.0 if since is None else max(0.0, (now - since).total_seconds())
    return JobStatistics(count_jobs(engine), waited, silent, count_deliveries(engine))
