"""`Store`: the truth about jobs, and the only place where their state changes.

Every transition is one guarded statement: it names the state (and, for a worker, the epoch of
its lease) that it starts from, so of two that race exactly one matches a row. Nothing reads a
state, decides, and writes it back.

| from | to | by |
|---|---|---|
| | queued | `create` |
| queued | running; epoch + 1, attempt + 1 | `claim` |
| running, cancelling | the same, lease prolonged | `renew` |
| running | succeeded; failed | `finish`; `fail` |
| running | queued, attempt given back | `release` |
| running, lease expired | queued; failed when attempts are spent | `reap` |
| queued; running | cancelled; cancelling | `request_cancel` |
| cancelling | cancelled | `cancelled`, or `reap` when the lease expired |
| failed, cancelled | queued, more attempts | `retry` |
| succeeded, failed, cancelled | gone | `remove` |

The worker's side is in `jobs.leases`, what follows the end in `jobs.finished`.
"""

from __future__ import annotations

import base64
import binascii
import builtins
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jobs.clock import UtcDateTime, from_now
from jobs.database import READ_ONLY
from jobs.filters import Filter
from jobs.finished import Finished
from jobs.job import Claim, Job, Layer, Page, Reaped, Renewal, new_job_id
from jobs.leases import FREED, touch
from jobs.models import JOB_COLUMNS, JOBS, LAYERS, job_of, layer_of
from jobs.quotas import require_within
from jobs.states import HELD, Status
from slimgpt.config import PruneSpec

__all__ = [
    "Claim",
    "IdempotencyConflict",
    "InvalidCursor",
    "Job",
    "Layer",
    "Page",
    "Reaped",
    "Renewal",
    "Store",
]
MAX_PAGE = 200
MAX_RESENT = 100
WORKER_LOST = {
    "code": "worker-lost",
    "message": "the worker fell silent in every attempt that the job had",
    "hint": "look at the workers' logs (out of memory? machine restarted?), then submit it again",
}


class IdempotencyConflict(Exception):  # noqa: N818 - a state of the request, not of the program
    """The owner has used this idempotency key for another request."""


class InvalidCursor(ValueError):  # noqa: N818 - as above
    """The cursor was not made by `Store.list`."""


class Store(Finished):
    """Jobs in SQL. See the module's table for what may become what.

    Args:
        engine: from `jobs.database.make_engine`, the schema at its newest version.
        lease_seconds: how long a claim or a renewal lasts.
        max_attempts: attempts given to jobs that are created here.
    """

    def create(
        self,
        spec: PruneSpec,
        *,
        metadata: dict[str, str] | None = None,
        owner: str = "local",
        idempotency_key: str | None = None,
        max_active: int | None = None,
    ) -> Job:
        """Insert a queued job. The row is the outbox: publish its id after this returned.

        With a key that the owner has used before: the same request gives the same job.

        Args:
            spec: what is to be done.
            metadata: labels of the client's own.
            owner: whose job it is.
            idempotency_key: the owner's own; None: every call makes a job.
            max_active: unfinished jobs that the owner may have, this one included.

        Raises:
            QuotaReached: the owner has `max_active` unfinished jobs already.
            IdempotencyConflict: the key was used with another spec or other metadata.
        """
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        body = spec.model_dump(mode="json")
        labels = metadata or {}
        statement = (
            dialect.insert(JOBS)
            .values(_new_row(body, labels, owner, idempotency_key, self.max_attempts))
            .on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
            .returning(*JOB_COLUMNS)
        )
        with self.engine.begin() as connection:
            row = connection.execute(statement).mappings().one_or_none()
            if row is not None and max_active is not None:
                require_within(connection, owner, max_active)
        if row is not None:
            return job_of(row)
        earlier = self._one(JOBS.c.owner == owner, JOBS.c.idempotency_key == idempotency_key)
        if earlier is None or (earlier.spec, earlier.metadata) != (spec, labels):
            raise IdempotencyConflict(
                f"idempotency key {idempotency_key!r} belongs to another request; use a new key"
            )
        return earlier

    def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """The job, or None if there is none or it is another owner's."""
        return self._one(JOBS.c.id == job_id, *([] if owner is None else [JOBS.c.owner == owner]))

    def report(self, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
        """The report of a succeeded job; None while there is none."""
        where = [JOBS.c.id == job_id] + ([] if owner is None else [JOBS.c.owner == owner])
        with self._reading() as connection:
            report: dict[str, Any] | None = connection.scalar(select(JOBS.c.report).where(*where))
        return report

    def layers(self, job_id: str) -> builtins.list[Layer]:
        """The layers that are done, by number; those of an earlier attempt until redone."""
        statement = select(LAYERS).where(LAYERS.c.job_id == job_id).order_by(LAYERS.c.layer)
        with self._reading() as connection:
            return [layer_of(row) for row in connection.execute(statement).mappings()]

    def list(
        self,
        *,
        owner: str | None = None,
        status: Status | Iterable[Status] | None = None,
        where: Filter | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """Jobs, newest first, `limit` (1 to 200) at a time.

        Raises:
            InvalidCursor: the cursor is not one that this method gave.
        """
        limit = max(1, min(limit, MAX_PAGE))
        statement = select(*JOB_COLUMNS).order_by(JOBS.c.id.desc()).limit(limit + 1)
        if owner is not None:
            statement = statement.where(JOBS.c.owner == owner)
        if status is not None:
            wanted = [status] if isinstance(status, Status) else list(status)
            statement = statement.where(JOBS.c.status.in_(wanted))
        if where is not None:
            statement = statement.where(*where.conditions())
        if cursor is not None:
            statement = statement.where(JOBS.c.id < _read_cursor(cursor))
        jobs = self._many(statement)
        more = len(jobs) > limit
        return Page(jobs[:limit], _make_cursor(jobs[limit - 1].id) if more else None)

    def request_cancel(self, job_id: str) -> Job | None:
        """Cancel a queued job at once, ask the worker of a running one to stop.

        Returns:
            The job as it is now, unchanged if it was finished; None if there is none.
        """
        queued = JOBS.c.status == Status.QUEUED
        statement = (
            update(JOBS)
            .where(JOBS.c.id == job_id, JOBS.c.status.in_([Status.QUEUED, Status.RUNNING]))
            .values(
                touch(
                    cancel_requested=True,
                    finished_at=case((queued, from_now()), else_=JOBS.c.finished_at),
                    status=case((queued, Status.CANCELLED), else_=Status.CANCELLING),
                )
            )
        )
        self._apply(statement)
        return self.get(job_id)

    def reap(self, now: datetime | None = None) -> builtins.list[Reaped]:
        """Take the jobs of silent workers back. Safe to run in several places at once.

        Args:
            now: time to compare leases with; the database's clock if None.
        """
        clock = from_now() if now is None else literal(now, UtcDateTime())
        expired = and_(JOBS.c.status.in_(HELD), JOBS.c.lease_expires_at < clock)
        again = and_(JOBS.c.status == Status.RUNNING, JOBS.c.attempt < JOBS.c.max_attempts)
        cancelling = JOBS.c.status == Status.CANCELLING
        requeue = touch(
            status=Status.QUEUED, stage=None, queued_at=from_now(), dispatched_at=None, **FREED
        )
        fail = touch(status=Status.FAILED, error=WORKER_LOST, finished_at=from_now(), **FREED)
        cancel = touch(status=Status.CANCELLED, finished_at=from_now(), **FREED)
        spent = and_(JOBS.c.status == Status.RUNNING, JOBS.c.attempt >= JOBS.c.max_attempts)
        done: builtins.list[Reaped] = []
        for guard, values in ((again, requeue), (spent, fail), (cancelling, cancel)):
            statement = update(JOBS).where(expired, guard).values(values)
            returned = statement.returning(JOBS.c.id, JOBS.c.status, JOBS.c.attempt)
            with self.engine.begin() as connection:
                rows = connection.execute(returned).all()
            done += [Reaped(job_id, Status(status), attempt) for job_id, status, attempt in rows]
        return done

    def undispatched(
        self, older_than: float, lost_after: float | None = None
    ) -> builtins.list[str]:
        """Queued jobs whose message was never sent, or must have been lost; oldest first.

        Args:
            older_than: seconds queued without a message.
            lost_after: seconds since the message was sent; `older_than` if None.
        """
        lost = older_than if lost_after is None else lost_after
        waiting = or_(
            and_(JOBS.c.dispatched_at.is_(None), JOBS.c.queued_at <= from_now(-older_than)),
            JOBS.c.dispatched_at <= from_now(-lost),
        )
        statement = (
            select(JOBS.c.id)
            .where(JOBS.c.status == Status.QUEUED, waiting)
            .order_by(JOBS.c.id)
            .limit(MAX_RESENT)
        )
        with self._reading() as connection:
            return list(connection.scalars(statement))

    def dispatched(self, job_id: str) -> bool:
        """The job's message is in the queue."""
        guarded = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status == Status.QUEUED)
        return self._apply(guarded.values(touch(dispatched_at=from_now())))

    def _one(self, *where: ColumnElement[bool]) -> Job | None:
        return next(iter(self._many(select(*JOB_COLUMNS).where(*where))), None)

    def _many(self, statement: Select[Any]) -> builtins.list[Job]:
        with self._reading() as connection:
            return [job_of(row) for row in connection.execute(statement).mappings()]

    def _reading(self) -> Any:
        return self.engine.execution_options(**READ_ONLY).connect()


def _new_row(
    body: dict[str, Any], labels: dict[str, str], owner: str, key: str | None, attempts: int
) -> dict[str, Any]:
    return {
        "id": new_job_id(),
        "owner": owner,
        "idempotency_key": key,
        "spec": body,
        "metadata": labels,
        "status": Status.QUEUED,
        "lease_epoch": 0,
        "attempt": 0,
        "max_attempts": attempts,
        "cancel_requested": False,
        "layers_done": 0,
        "warnings": [],
        "created_at": from_now(),
        "queued_at": from_now(),
        "updated_at": from_now(),
    }


def _make_cursor(job_id: str) -> str:
    return base64.urlsafe_b64encode(job_id.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        job_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor(f"cursor {cursor!r} was not given by this list") from error
    # PostgreSQL takes no NUL in a text.
    if not (job_id.startswith("job_") and job_id.isprintable()):
        raise InvalidCursor(f"cursor {cursor!r} was not given by this list")
    return job_id
