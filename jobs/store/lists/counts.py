"""Job counts by status."""

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
