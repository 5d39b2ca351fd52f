"""`Leases`: claims, renewals and worker writes, each guarded by the lease's epoch.

A method that returns False or None has written nothing: the lease has expired, and another worker
may hold the job, or the job is not in the state that the transition starts from. The worker then
stops its engine and writes nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ScalarSelect,
    Update,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from jobs.states import HELD, Status
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY
from jobs.store.lists.sort_values import sort_values
from jobs.store.records import Claim, IncompatibleSpec, Job, Renewal
from jobs.store.tables import JOB_COLUMNS, JOBS, LAYERS, job_of
from slimgpt.events import Event, LayerFinished, Planned, Warned

MAX_WARNINGS = 200
CLAIMABLE = (JOBS.c.status == Status.QUEUED, JOBS.c.attempt < JOBS.c.max_attempts)
FREED: dict[str, Any] = {"worker": None, "lease_expires_at": None}
HAS_LAYERS = exists().where(LAYERS.c.job_id == JOBS.c.id, LAYERS.c.epoch > JOBS.c.anew_epoch)
FAILED: dict[str, Any] = {"status": Status.FAILED, "layers_kept": HAS_LAYERS, **FREED}


def plain(value: Mapping[str, Any] | Event) -> dict[str, Any]:
    """Convert to JSON that every database stores: no NaN or infinity, no NUL in strings."""
    text = value.line() if isinstance(value, Event) else json.dumps(dict(value))
    return dict(storable(json.loads(text, parse_constant=lambda _: None)))


def storable(value: Any) -> Any:
    """JSON with U+FFFD for U+0000, which PostgreSQL does not store in text.

    The engine's messages quote untrusted configs, texts and names.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    return value


def touch(**values: Any) -> dict[str, Any]:
    """Values of an update, with `updated_at`."""
    return {"updated_at": from_now(), **values}


class Leases:
    """The transitions of a job that a worker holds.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
        lease_seconds: duration of a lease.
        max_attempts: attempts of a new job.
    """

    def __init__(
        self, engine: Engine, *, lease_seconds: float = 60.0, max_attempts: int = 3
    ) -> None:
        self.engine = engine
        self.lease_seconds = lease_seconds
        self.max_attempts = max_attempts

    def claim(self, job_id: str, worker: str) -> Claim | None:
        """Claim a queued job: epoch + 1, attempt + 1. None if it is not queued."""
        job = self._take(JOBS.c.id == job_id, worker)
        return None if job is None else self._understood(job)

    def claim_next(self, worker: str) -> Claim | None:
        """Claim the oldest queued job. None if no job is queued.

        Concurrent callers get different jobs, without waiting.
        """
        while True:
            job = self._take(JOBS.c.id == _oldest(wait=False), worker)
            if job is None and not self._any_queued():
                return None
            # Wait for locked rows, perhaps of a job whose message was just sent: it would be lost.
            job = job or self._take(JOBS.c.id == _oldest(wait=True), worker)
            if job is not None and (claim := self._understood(job)) is not None:
                return claim

    def _any_queued(self) -> bool:
        queued = select(JOBS.c.id).where(*CLAIMABLE).limit(1)
        with self._reading() as connection:
            return connection.execute(queued).first() is not None

    def _take(self, which: ColumnElement[bool], worker: str) -> Job | None:
        statement = (
            update(JOBS)
            .where(which, *CLAIMABLE)
            .values(
                touch(
                    status=Status.RUNNING,
                    stage=None,
                    lease_epoch=JOBS.c.lease_epoch + 1,
                    attempt=JOBS.c.attempt + 1,
                    worker=worker,
                    lease_expires_at=from_now(self.lease_seconds),
                    layers_done=0,
                    started_at=func.coalesce(JOBS.c.started_at, from_now()),
                )
            )
            .returning(*JOB_COLUMNS)
        )
        with self.engine.begin() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        return None if row is None else job_of(row)

    def _understood(self, job: Job) -> Claim | None:
        """The claim of a job; a job whose specification this version cannot read fails instead."""
        if isinstance(job.spec, IncompatibleSpec):
            self.fail(job.id, job.lease_epoch, _not_understood(job.spec))
            return None
        assert job.lease_expires_at is not None
        return Claim(job, job.lease_epoch, job.attempt, job.lease_expires_at)

    def renew(self, job_id: str, epoch: int) -> Renewal | None:
        """Renew the lease. None if it is lost: stop the engine, write nothing more."""
        statement = (
            self._held(job_id, epoch)
            .values(touch(lease_expires_at=from_now(self.lease_seconds)))
            .returning(JOBS.c.lease_expires_at, JOBS.c.cancel_requested)
        )
        with self.engine.begin() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else Renewal(row[0], row[1])

    def look(self, job_id: str, epoch: int) -> Renewal | None:
        """The lease's state, without writing; None if it is lost."""
        statement = select(JOBS.c.lease_expires_at, JOBS.c.cancel_requested).where(
            JOBS.c.id == job_id, JOBS.c.lease_epoch == epoch, JOBS.c.status.in_(HELD)
        )
        with self._reading() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else Renewal(row[0], row[1])

    def stage(self, job_id: str, epoch: int, stage: str) -> bool:
        """Record the attempt's stage."""
        return self._apply(self._held(job_id, epoch).values(touch(stage=stage)))

    def planned(self, job_id: str, epoch: int, event: Planned) -> bool:
        """Record the plan."""
        plan = plain(event)
        values = touch(plan=plan, layers_total=event.layers, **sort_values(plan))
        return self._apply(self._held(job_id, epoch).values(values))

    def layer_done(self, job_id: str, epoch: int, event: LayerFinished) -> bool:
        """Write a layer's row, replacing that of an earlier attempt, and update `layers_done`."""
        locked = self._held(job_id, epoch).values(touch(layers_total=event.layers_total))
        count = (
            select(func.count())
            .select_from(LAYERS)
            .where(LAYERS.c.job_id == job_id, LAYERS.c.epoch == epoch)
            .scalar_subquery()
        )
        # The guarded update locks the job's row until the transaction ends. It cannot count, too,
        # because a statement that waits for a lock does not see rows written meanwhile.
        with self.engine.begin() as connection:
            if connection.execute(locked).rowcount == 0:
                return False
            _upsert_layer(connection, job_id, epoch, event)
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(layers_done=count))
        return True

    def warn(self, job_id: str, epoch: int, event: Warned) -> bool:
        """Add a warning, unless the job has it already (resumed attempts repeat warnings)."""
        warning = {"message": storable(event.message), "layer": event.layer}
        locked = self._held(job_id, epoch).values(touch()).returning(JOBS.c.warnings)
        with self.engine.begin() as connection:
            row = connection.execute(locked).one_or_none()
            if row is None:
                return False
            known: list[dict[str, Any]] = row[0]
            if warning not in known and len(known) < MAX_WARNINGS:
                added = update(JOBS).where(JOBS.c.id == job_id).values(warnings=[*known, warning])
                connection.execute(added)
        return True

    def finish(
        self,
        job_id: str,
        epoch: int,
        *,
        prefix: str,
        result: Mapping[str, Any],
        report: Mapping[str, Any],
        artifacts_bytes: int | None = None,
    ) -> bool:
        """Record the published files; status `succeeded`.

        Args:
            job_id, epoch: the job, and the epoch of the lease.
            prefix: of the files in the artifact store.
            result: the engine's `Result` event.
            report: content of `report.json`.
            artifacts_bytes: size of all files.

        Returns:
            False if the lease is lost or the job was cancelled first.
        """
        values = touch(
            status=Status.SUCCEEDED,
            artifacts_prefix=prefix,
            artifacts_bytes=artifacts_bytes,
            result=plain(result),
            report=plain(report),
            finished_at=from_now(),
            **sort_values(result),
            **FREED,
        )
        return self._apply(self._running(job_id, epoch).values(values))

    def fail(self, job_id: str, epoch: int, error: Mapping[str, str]) -> bool:
        """Record an error (`code`, `message`, `hint`); status `failed`. Layers stay for a retry."""
        values = touch(error=plain(error), finished_at=from_now(), **FAILED)
        return self._apply(self._running(job_id, epoch).values(values))

    def cancelled(self, job_id: str, epoch: int) -> bool:
        """Status `cancelled`, after the engine has stopped."""
        values = touch(status=Status.CANCELLED, finished_at=from_now(), **FREED)
        guarded = self._guarded(job_id, epoch).where(JOBS.c.status == Status.CANCELLING)
        return self._apply(guarded.values(values))

    def release(self, job_id: str, epoch: int) -> bool:
        """Queue the job again on a planned shutdown; the attempt does not count."""
        values = touch(
            status=Status.QUEUED,
            stage=None,
            attempt=JOBS.c.attempt - 1,
            queued_at=from_now(),
            dispatched_at=None,
            **FREED,
        )
        return self._apply(self._running(job_id, epoch).values(values))

    def _guarded(self, job_id: str, epoch: int) -> Update:
        return update(JOBS).where(JOBS.c.id == job_id, JOBS.c.lease_epoch == epoch)

    def _held(self, job_id: str, epoch: int) -> Update:
        return self._guarded(job_id, epoch).where(JOBS.c.status.in_(HELD))

    def _running(self, job_id: str, epoch: int) -> Update:
        return self._guarded(job_id, epoch).where(JOBS.c.status == Status.RUNNING)

    def _apply(self, statement: Update) -> bool:
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def _reading(self) -> Connection:
        return self.engine.execution_options(**READ_ONLY).connect()


def _oldest(*, wait: bool) -> ScalarSelect[str]:
    """The oldest queued job; waits for locked rows, or skips them."""
    return (
        select(JOBS.c.id)
        .where(*CLAIMABLE)
        .order_by(JOBS.c.id)
        .limit(1)
        .with_for_update(skip_locked=not wait)  # omitted on SQLite, which has one writer
        .scalar_subquery()
    )


def _not_understood(spec: IncompatibleSpec) -> dict[str, str]:
    return {
        "code": "spec-not-understood",
        "message": f"a worker of another version claimed the job and cannot read it: {spec.reason}",
        "hint": "retry the job when all workers run the API's version, or post it again",
    }


def _upsert_layer(connection: Connection, job_id: str, epoch: int, event: LayerFinished) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    values = event.model_dump(exclude={"type", "points"})
    values |= {"epoch": epoch, "finished_at": from_now()}
    statement = dialect.insert(LAYERS).values(job_id=job_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["job_id", "point", "layer"], set_=values)
    )
