"""Job counts by status, and the place of a job in the queue."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from jobs.states import Status
from jobs.store.database import READ_ONLY
from jobs.store.tables import JOBS


def count_jobs(engine: Engine, owner: str | None = None) -> dict[str, int]:
    """Number of jobs by status, zeros included; of all owners if None."""
    counted = select(JOBS.c.status, func.count().label("jobs")).group_by(JOBS.c.status)
    if owner is not None:
        counted = counted.where(JOBS.c.owner == owner)
    with engine.execution_options(**READ_ONLY).connect() as connection:
        found = {row.status: row.jobs for row in connection.execute(counted)}
    return dict.fromkeys(map(str, Status), 0) | found


def queue_position(engine: Engine, job_id: str) -> int | None:
    """The place of a queued job among those of all owners, 1 for the next; None: it is not queued.

    Workers take the job that was posted first.
    """
    queued = JOBS.c.status == Status.QUEUED
    ahead = select(func.count()).where(queued, JOBS.c.id < job_id).scalar_subquery()
    statement = select(ahead).where(JOBS.c.id == job_id, queued)
    with engine.execution_options(**READ_ONLY).connect() as connection:
        found = connection.scalar(statement)
    return None if found is None else int(found) + 1
