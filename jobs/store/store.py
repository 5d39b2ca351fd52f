"""`Store`: the SQL store of jobs; every state transition is one guarded statement.

Each statement names the state that it starts from and, for a worker, the epoch of its lease, so of
two concurrent transitions exactly one matches the row. Nothing reads a state and writes it back.

| from | to | by |
|---|---|---|
| | queued | `create` |
| queued | running; epoch + 1, attempt + 1 | `claim`, `claim_next` |
| running, cancelling | the same, lease renewed | `renew` |
| running | succeeded; failed | `finish`; `fail` |
| running | queued, attempt not counted | `release` |
| running, lease expired | queued; failed after the last attempt | `reap` |
| queued; running | cancelled; cancelling | `request_cancel` |
| cancelling | cancelled | `cancelled`, or `reap` after the lease expired |
| failed, cancelled | queued, more attempts | `retry` |
| succeeded | the same, files expired | `expire_older`, `expire_beyond` |
| succeeded, failed, cancelled | deleted | `remove` |

Transitions by workers are in `jobs.store.leases`, those of finished jobs in
`jobs.store.finished_jobs` and `jobs.store.retention`, the reaper's in `jobs.store.reaping`.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jobs.states import Status
from jobs.store.clock import from_now
from jobs.store.leases import touch
from jobs.store.lists.filters import Filter
from jobs.store.lists.order import Order
from jobs.store.lists.quotas import require_within
from jobs.store.lists.summaries import JobSummary, summary_columns, summary_of
from jobs.store.reaping import Reaping
from jobs.store.records import Job, Layer, Page, StatusRow, default_name, new_id
from jobs.store.tables import JOB_COLUMNS, JOBS, LAYERS, job_of
from slimgpt.spec.prune import PruneSpec

MAX_PAGE = 200
NEWEST_FIRST = Order()
CREATE_TRIES = 5


class IdempotencyConflict(Exception):  # noqa: N818 - a state of the request, not of the program
    """The owner has used this idempotency key for another request."""


class Store(Reaping):
    """The job store. The module's docstring lists the transitions.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
        lease_seconds: duration of a lease.
        max_attempts: attempts of a new job.
    """

    def create(
        self,
        spec: PruneSpec,
        *,
        name: str | None = None,
        metadata: dict[str, str] | None = None,
        owner: str = "local",
        idempotency_key: str | None = None,
        max_active: int | None = None,
    ) -> Job:
        """Insert a queued job. The row is the outbox: publish its id after this returned.

        With an idempotency key that the owner has used, the same request returns the same job.

        Args:
            spec: the specification.
            name: the job's name; None: from its model and target.
            metadata: the client's labels.
            owner: the job's owner.
            idempotency_key: unique per owner; None: every call creates a job.
            max_active: unfinished jobs that the owner may have, this one included.

        Raises:
            QuotaReached: the owner has `max_active` unfinished jobs already.
            IdempotencyConflict: the key was used with another spec, name or other metadata.
        """
        labels, called = metadata or {}, name or default_name(spec)
        given: dict[str, Any] = {
            "spec": spec.model_dump(mode="json"),
            "metadata": labels,
            "name": called,
        }
        given |= {"sort_name": called.lower(), "sort_ratio": spec.ratio}
        for _ in range(CREATE_TRIES):
            row = given | _new_row(owner, idempotency_key, self.max_attempts)
            if (job := self._insert(row, max_active)) is not None:
                return job
            earlier = self._one(JOBS.c.owner == owner, JOBS.c.idempotency_key == idempotency_key)
            if earlier is None:  # removed meanwhile: the key is free
                continue
            if (earlier.spec, earlier.metadata, earlier.name) == (spec, labels, called):
                return earlier
            break
        raise IdempotencyConflict(
            f"idempotency key {idempotency_key!r} belongs to another request; use a new key"
        )

    def knows_key(self, owner: str, idempotency_key: str) -> bool:
        """Whether a job of the owner has this idempotency key."""
        here = JOBS.c.owner == owner, JOBS.c.idempotency_key == idempotency_key
        with self._reading() as connection:
            return connection.scalar(select(JOBS.c.id).where(*here)) is not None

    def _insert(self, row: dict[str, Any], max_active: int | None) -> Job | None:
        """Insert a row; None if its owner has used its idempotency key."""
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        statement = (
            dialect.insert(JOBS)
            .values(row)
            .on_conflict_do_nothing(index_elements=["owner", "idempotency_key"])
            .returning(*JOB_COLUMNS)
        )
        with self.engine.begin() as connection:
            made = connection.execute(statement).mappings().one_or_none()
            if made is not None and max_active is not None:
                require_within(connection, row["owner"], max_active)
        return None if made is None else job_of(made)

    def get(self, job_id: str, owner: str | None = None) -> Job | None:
        """The job; None if it does not exist or has another owner."""
        return self._one(JOBS.c.id == job_id, *([] if owner is None else [JOBS.c.owner == owner]))

    def status_row(self, job_id: str, owner: str | None = None) -> StatusRow | None:
        """The job's status; None if it does not exist or has another owner."""
        where = [JOBS.c.id == job_id] + ([] if owner is None else [JOBS.c.owner == owner])
        return next(iter(self._status_rows(*where)), None)

    def status_rows(self, job_ids: Iterable[str]) -> dict[str, StatusRow]:
        """The status of jobs by id; unknown ids are absent."""
        return {row.id: row for row in self._status_rows(JOBS.c.id.in_(list(job_ids)))}

    def report(self, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
        """The report of a succeeded job; None if there is none."""
        where = [JOBS.c.id == job_id] + ([] if owner is None else [JOBS.c.owner == owner])
        with self._reading() as connection:
            report: dict[str, Any] | None = connection.scalar(select(JOBS.c.report).where(*where))
        return report

    def layers(self, job_id: str) -> builtins.list[Layer]:
        """Finished layers in order, including those of earlier attempts until they are replaced."""
        order = (LAYERS.c.point, LAYERS.c.layer)
        statement = select(LAYERS).where(LAYERS.c.job_id == job_id).order_by(*order)
        with self._reading() as connection:
            return [Layer(**row) for row in connection.execute(statement).mappings()]

    def list(
        self,
        *,
        owner: str | None = None,
        status: Status | Iterable[Status] | None = None,
        where: Filter | None = None,
        order: Order = NEWEST_FIRST,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[JobSummary]:
        """A page of job summaries.

        Args:
            limit: 1 to 200.

        Raises:
            InvalidCursor: the cursor was not returned by this method for this order.
        """
        limit = max(1, min(limit, MAX_PAGE))
        dialect = self.engine.dialect.name
        statement = select(*summary_columns(dialect))
        if owner is not None:
            statement = statement.where(JOBS.c.owner == owner)
        if status is not None:
            wanted = [status] if isinstance(status, Status) else list(status)
            statement = statement.where(JOBS.c.status.in_(wanted))
        if where is not None:
            statement = statement.where(*where.conditions(dialect))
        rows: builtins.list[RowMapping] = []
        with self._reading() as connection:
            for part in order.parts(statement, cursor):
                left = limit + 1 - len(rows)
                rows += connection.execute(part.limit(left)).mappings() if left else ()
        next_cursor = order.cursor_after(rows[limit - 1]) if len(rows) > limit else None
        return Page([summary_of(row) for row in rows[:limit]], next_cursor)

    def request_cancel(self, job_id: str) -> Job | None:
        """Cancel a queued job, or request cancellation of a running one.

        Returns:
            the job, unchanged if it is finished; None if it does not exist.
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

    def _status_rows(self, *where: ColumnElement[bool]) -> builtins.list[StatusRow]:
        columns = [JOBS.c[field] for field in StatusRow.__dataclass_fields__]
        with self._reading() as connection:
            rows = connection.execute(select(*columns).where(*where)).mappings().all()
        return [StatusRow(**{**row, "status": Status(row["status"])}) for row in rows]

    def _one(self, *where: ColumnElement[bool]) -> Job | None:
        with self._reading() as connection:
            row = connection.execute(select(*JOB_COLUMNS).where(*where)).mappings().first()
        return None if row is None else job_of(row)


def _new_row(owner: str, key: str | None, attempts: int) -> dict[str, Any]:
    return {
        "id": new_id("job"),
        "owner": owner,
        "idempotency_key": key,
        "status": Status.QUEUED,
        "lease_epoch": 0,
        "attempt": 0,
        "max_attempts": attempts,
        "cancel_requested": False,
        "layers_done": 0,
        "warnings": [],
        "swept_epoch": 0,
        "announced": False,
        "created_at": from_now(),
        "queued_at": from_now(),
        "updated_at": from_now(),
    }
