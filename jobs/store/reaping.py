"""`Reaping`: requeues jobs with expired leases, and finds missing queue messages.

A message is a token: its receiver claims the oldest queued job. So every job is claimed as long as
there are as many messages as queued jobs, whatever jobs the messages name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, select, update

from jobs.states import HELD, Status
from jobs.store.clock import UtcDateTime, from_now, moment
from jobs.store.leases import FAILED, FREED, plain, touch
from jobs.store.records import Reaped
from jobs.store.retention import Retention
from jobs.store.tables import JOBS

MAX_RESENT = 500
WORKER_LOST = {
    "code": "worker-lost",
    "message": "the worker was lost in every attempt of the job",
    "hint": "check the workers' logs (out of memory, restarted machine), then retry the job",
}


class Reaping(Retention):
    """The reaper's transitions; several reapers may run at once."""

    def reap(self, now: datetime | None = None) -> list[Reaped]:
        """Requeue, fail or cancel jobs with expired leases.

        Args:
            now: the present time; the database's clock if None.
        """
        clock = moment() if now is None else literal(now, UtcDateTime())
        expired = and_(JOBS.c.status.in_(HELD), JOBS.c.lease_expires_at < clock)
        again = and_(JOBS.c.status == Status.RUNNING, JOBS.c.attempt < JOBS.c.max_attempts)
        cancelling = JOBS.c.status == Status.CANCELLING
        requeue = touch(
            status=Status.QUEUED, stage=None, queued_at=from_now(), dispatched_at=None, **FREED
        )
        fail = touch(error=WORKER_LOST, finished_at=from_now(), **FAILED)
        cancel = touch(status=Status.CANCELLED, finished_at=from_now(), **FREED)
        spent = and_(JOBS.c.status == Status.RUNNING, JOBS.c.attempt >= JOBS.c.max_attempts)
        done: list[Reaped] = []
        for guard, values in ((again, requeue), (spent, fail), (cancelling, cancel)):
            # Skip rows locked by a worker that hangs within a transaction.
            found = select(JOBS.c.id).where(expired, guard).with_for_update(skip_locked=True)
            statement = update(JOBS).where(JOBS.c.id.in_(found), expired, guard).values(values)
            returned = statement.returning(JOBS.c.id, JOBS.c.status, JOBS.c.attempt)
            with self.engine.begin() as connection:
                rows = connection.execute(returned).all()
            done += [Reaped(job_id, Status(status), attempt) for job_id, status, attempt in rows]
        return done

    def engine_killed(self, job_id: str, epoch: int, kills: Sequence[Mapping[str, Any]]) -> bool:
        """Queue a job again whose engine was killed; the attempt counts.

        Args:
            job_id: the job.
            epoch: of the lease.
            kills: all kills of the job's engines (`Job.engine_kills`), including this one.

        Returns:
            False if it was the last attempt, the job was cancelled first, or the lease is lost.
        """
        values = touch(
            status=Status.QUEUED,
            stage=None,
            engine_kills=[plain(kill) for kill in kills],
            queued_at=from_now(),
            dispatched_at=None,
            **FREED,
        )
        guarded = self._running(job_id, epoch).where(JOBS.c.attempt < JOBS.c.max_attempts)
        return self._apply(guarded.values(values))

    def undispatched(self, older_than: float) -> list[str]:
        """Queued jobs whose message was never sent, oldest first, at most `MAX_RESENT`.

        Args:
            older_than: seconds queued without a message.
        """
        return self._queued(
            JOBS.c.dispatched_at.is_(None), JOBS.c.queued_at <= moment(-older_than), MAX_RESENT
        )

    def unanswered(self, older_than: float, most: int) -> list[str]:
        """Queued jobs whose message was sent and is waiting or lost, oldest first.

        Args:
            older_than: seconds since it was sent.
            most: maximum number, at most `MAX_RESENT`.
        """
        sent = JOBS.c.dispatched_at <= moment(-older_than)
        return self._queued(JOBS.c.dispatched_at.is_not(None), sent, min(most, MAX_RESENT))

    def awaited(self) -> int:
        """Number of queued jobs whose message was sent: the expected length of the queue."""
        sent = select(func.count()).where(
            JOBS.c.status == Status.QUEUED, JOBS.c.dispatched_at.is_not(None)
        )
        with self._reading() as connection:
            return int(connection.execute(sent).scalar_one())

    def dispatched(self, job_id: str) -> bool:
        """Record that the job's message was sent."""
        guarded = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status == Status.QUEUED)
        return self._apply(guarded.values(touch(dispatched_at=from_now())))

    def _queued(self, sent: ColumnElement[bool], when: ColumnElement[bool], most: int) -> list[str]:
        statement = (
            select(JOBS.c.id)
            .where(JOBS.c.status == Status.QUEUED, sent, when)
            .order_by(JOBS.c.id)
            .limit(most)
        )
        with self._reading() as connection:
            return list(connection.scalars(statement))
