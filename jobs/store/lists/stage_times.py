"""Seconds of the stages of jobs that succeeded, from which those of others are estimated."""

from __future__ import annotations

from sqlalchemy import Engine, select

from jobs.messages.expectation import Earlier
from jobs.states import Status
from jobs.store.database import READ_ONLY
from jobs.store.records import spec_of
from jobs.store.tables import JOBS
from slimgpt.spec.prune import PruneSpec

MOST = 30
"""Newest jobs that are looked at."""


def earlier_jobs(engine: Engine) -> list[Earlier]:
    """The newest jobs that succeeded in their first attempt, the newest first.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away.
    """
    stages = JOBS.c.result["stages"]
    asked = (
        select(JOBS.c.spec, stages.label("stages"))
        .where(JOBS.c.status == Status.SUCCEEDED, JOBS.c.attempt == 1)
        .order_by(JOBS.c.finished_at.desc())
        .limit(MOST)
    )
    with engine.execution_options(**READ_ONLY).connect() as connection:
        rows = connection.execute(asked).all()
    found = [(spec_of(row.spec), row.stages) for row in rows]
    return [
        Earlier(spec, {name: float(one) for name, one in seconds.items()})
        for spec, seconds in found
        if isinstance(spec, PruneSpec) and isinstance(seconds, dict)
    ]
