"""`announce`: writes one delivery per subscribed webhook when a job finishes (outbox).

The flag of the job and the deliveries are written in one transaction, so every end is announced
exactly once, whatever crashes. A retry or removal of a job calls this first, in the same
transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, insert, select, update

from jobs.states import TERMINAL
from jobs.store.database import READ_ONLY
from jobs.store.records import Job, new_id
from jobs.store.tables import DELIVERIES, JOB_COLUMNS, JOBS, WEBHOOKS, job_of
from jobs.store.webhooks.records import DeliveryStatus

BATCH = 100
MAX_MESSAGE = 2000  # characters of an error; receivers expect small messages
RESULT_FIELDS = (
    "parameters_before",
    "parameters_after",
    "ratio_achieved",
    "seconds",
    "perplexity",
    "points",
)
UNANNOUNCED = (JOBS.c.status.in_(TERMINAL), JOBS.c.announced.is_(False))


def announce(connection: Connection, *where: ColumnElement[bool]) -> int:
    """Write deliveries for a batch of finished jobs that were not announced yet.

    Args:
        connection: in a write transaction.
        where: conditions on the jobs; none: all jobs.

    Returns:
        the number of jobs; fewer than `BATCH` if there are no more.
    """
    unannounced = (
        select(JOBS.c.id)
        .where(*UNANNOUNCED, *where)
        .order_by(JOBS.c.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
        .correlate(None)
    )
    ended = (
        update(JOBS)
        .where(JOBS.c.id.in_(unannounced), *UNANNOUNCED)
        .values(announced=True)
        .returning(*JOB_COLUMNS)
    )
    jobs = [job_of(row) for row in connection.execute(ended).mappings().all()]
    rows = list(_deliveries(connection, jobs))
    if rows:
        connection.execute(insert(DELIVERIES), rows)
    return len(jobs)


def announce_all(engine: Engine) -> int:
    """Announce all jobs not announced yet; takes no write lock if there are none."""
    announced = 0
    while _any_unannounced(engine):
        with engine.begin() as connection:
            batch = announce(connection)
        announced += batch
        if batch < BATCH:
            break
    return announced


def new_delivery(webhook_id: str, owner: str, event: str, body: str) -> dict[str, Any]:
    """The row of a new delivery."""
    return {
        "id": new_id("msg"),
        "webhook_id": webhook_id,
        "owner": owner,
        "event": event,
        "body": body,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "attempts_before": 0,
        "log": [],
    }


def _any_unannounced(engine: Engine) -> bool:
    with engine.execution_options(**READ_ONLY).connect() as connection:
        first = select(JOBS.c.id).where(*UNANNOUNCED).limit(1)
        return connection.execute(first).first() is not None


def _deliveries(connection: Connection, jobs: list[Job]) -> Iterable[dict[str, Any]]:
    owners = {job.owner for job in jobs}
    # Locked, so that they are not deleted or disabled before the deliveries are written.
    wanting = (
        select(WEBHOOKS.c.id, WEBHOOKS.c.owner, WEBHOOKS.c.events, WEBHOOKS.c.created_at)
        .where(WEBHOOKS.c.owner.in_(owners), WEBHOOKS.c.enabled.is_(True))
        .order_by(WEBHOOKS.c.id)
        .with_for_update(read=True)
    )
    webhooks = connection.execute(wanting).all() if jobs else []
    for job in jobs:
        event, ended = f"job.{job.status}", job.finished_at or job.updated_at
        for webhook_id, owner, events, created_at in webhooks:
            # Jobs that finished before the webhook was created are not announced to it.
            if owner == job.owner and event in events and created_at <= ended:
                yield {
                    **new_delivery(webhook_id, owner, event, _body(event, job)),
                    "job_id": job.id,
                    **dict.fromkeys(("ended_at", "created_at", "next_at"), ended),
                }


def _body(event: str, job: Job) -> str:
    ended = job.finished_at or job.updated_at
    message = {"type": event, "timestamp": ended.isoformat(), "data": _data(job)}
    # ASCII can represent any string, even a lone surrogate: one job's error message must not block
    # the announcements of all others.
    return json.dumps(message, separators=(",", ":"))


def _data(job: Job) -> dict[str, Any]:
    here = f"/v1/jobs/{job.id}"
    result, error = job.timed_result or {}, job.error or {}
    return {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "status": str(job.status),
        "model": job.spec.model,
        "attempt": job.attempt,
        "result": {name: result[name] for name in RESULT_FIELDS if name in result} or None,
        "error": {name: str(text)[:MAX_MESSAGE] for name, text in error.items()} or None,
        "metadata": job.metadata,
        "created_at": job.created_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
        "links": {"self": here, "report": f"{here}/report", "artifacts": f"{here}/artifacts"},
    }
