"""Times of jobs that succeeded, from which those of others are estimated."""

from __future__ import annotations

from sqlalchemy import Engine, select

from jobs.messages.expectation import Earlier
from jobs.states import Status
from jobs.store.database import READ_ONLY
from jobs.store.records import spec_of
from jobs.store.tables import JOBS
from slimgpt.spec.prune import PruneSpec

MOST = 50
"""Newest jobs that are looked at."""


def earlier_jobs(engine: Engine) -> list[Earlier]:
    """The newest jobs that succeeded in their first attempt, the newest first.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away.
    """
    asked = (
        select(
            JOBS.c.spec,
            JOBS.c.plan["parameters_before"].label("parameters"),
            JOBS.c.result["stages"].label("stages"),
            JOBS.c.started_at,
            JOBS.c.finished_at,
        )
        .where(JOBS.c.status == Status.SUCCEEDED, JOBS.c.attempt == 1)
        .order_by(JOBS.c.finished_at.desc())
        .limit(MOST)
    )
    with engine.execution_options(**READ_ONLY).connect() as connection:
        rows = connection.execute(asked).all()
    return [
        Earlier(
            spec,
            row.stages or {},
            row.parameters,
            (row.finished_at - row.started_at).total_seconds(),
        )
        for row in rows
        if isinstance(spec := spec_of(row.spec), PruneSpec)
        and row.parameters
        and row.started_at
        and row.finished_at
    ]
