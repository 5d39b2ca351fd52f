"""`reclaim`: recovers a claim whose response was lost with the connection."""

from __future__ import annotations

from sqlalchemy import select, update

from jobs.states import HELD
from jobs.store.clock import from_now
from jobs.store.leases import Leases, touch
from jobs.store.records import Claim
from jobs.store.tables import JOB_COLUMNS, JOBS, job_of
from slimgpt.spec.prune import PruneSpec


def reclaim(store: Leases, worker: str) -> Claim | None:
    """Claim the job that this worker holds without knowing it, under a new epoch.

    The attempt does not count. The new epoch separates its files from those of an earlier attempt
    of this worker whose lease expired while the database was unavailable.

    Args:
        store: the job store.
        worker: unique name of this process, which runs no job at present.

    Returns:
        None if there is no such job.
    """
    mine = (JOBS.c.worker == worker, JOBS.c.status.in_(HELD))
    newest = select(JOBS.c.id).where(*mine).order_by(JOBS.c.lease_expires_at.desc()).limit(1)
    statement = (
        update(JOBS)
        .where(JOBS.c.id == newest.scalar_subquery(), *mine)
        .values(
            touch(
                lease_epoch=JOBS.c.lease_epoch + 1,
                layers_done=0,
                lease_expires_at=from_now(store.lease_seconds),
            )
        )
        .returning(*JOB_COLUMNS)
    )
    with store.engine.begin() as connection:
        row = connection.execute(statement).mappings().one_or_none()
    job = None if row is None else job_of(row)
    if job is None or job.lease_expires_at is None or not isinstance(job.spec, PruneSpec):
        return None
    return Claim(job, job.lease_epoch, job.attempt, job.lease_expires_at)
