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
    """The job that this worker holds without knowing it, under a new epoch; None: no such job.

    No attempt is spent. But the job may also be one whose lease this worker has let run out, while
    the database was away for long: what that attempt still has on its way to the artifact store,
    or removes from there, must not be mixed with what comes now.

    Args:
        store: where it is.
        worker: a name that no other process ever has; it works on nothing at the moment.
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
