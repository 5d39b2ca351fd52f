"""`FinishedJobs`: retry and removal of finished jobs.

Both are one guarded statement, so of a concurrent retry and removal exactly one succeeds.
"""

from __future__ import annotations

from sqlalchemy import delete, update

from jobs.states import TERMINAL, Status
from jobs.store.clock import from_now
from jobs.store.leases import FREED, Leases, touch
from jobs.store.lists.quotas import require_within
from jobs.store.records import Job
from jobs.store.tables import JOBS
from jobs.store.webhooks.outbox import announce

RETRIABLE = frozenset({Status.FAILED, Status.CANCELLED})


class FinishedJobs(Leases):
    """The transitions of a finished job."""

    def retry(self, job_id: str, *, anew: bool = False, max_active: int | None = None) -> bool:
        """Queue a failed or cancelled job again, with the attempts of a new job.

        It resumes from finished layers. Attempts and epochs continue to count, so late writes of
        earlier workers stay refused. Publish the id after this returned True.

        Args:
            anew: ignore finished layers.
            max_active: unfinished jobs that the owner may have, this one included.

        Returns:
            False if there is no failed or cancelled job with this id.

        Raises:
            QuotaReached: the owner has `max_active` unfinished jobs already.
        """
        values = touch(
            status=Status.QUEUED,
            stage=None,
            error=None,
            cancel_requested=False,
            max_attempts=JOBS.c.attempt + self.max_attempts,
            layers_done=0,
            queued_at=from_now(),
            dispatched_at=None,
            announced=False,
            started_at=None,
            finished_at=None,
            engine_kills=None,
            layers_kept=False,
            anew_epoch=JOBS.c.lease_epoch if anew else JOBS.c.anew_epoch,
            **FREED,
        )
        guarded = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status.in_(RETRIABLE))
        with self.engine.begin() as connection:
            announce(connection, JOBS.c.id == job_id)  # before its status changes
            queued = connection.execute(guarded.values(values).returning(JOBS.c.owner))
            owner = queued.scalar_one_or_none()
            if owner is not None and max_active is not None:
                require_within(connection, owner, max_active)
        return owner is not None

    def remove(self, job: Job) -> bool:
        """Delete a finished job's row and its layers. Remove its files first.

        Returns:
            False if the job is gone, not finished, or was retried since `job` was read.
        """
        statement = delete(JOBS).where(
            JOBS.c.id == job.id,
            JOBS.c.status.in_(TERMINAL),
            JOBS.c.lease_epoch == job.lease_epoch,
        )
        with self.engine.begin() as connection:
            announce(connection, JOBS.c.id == job.id)  # before the row is deleted
            return connection.execute(statement).rowcount == 1
