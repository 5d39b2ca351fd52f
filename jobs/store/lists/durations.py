"""Durations of the jobs that succeeded last, to estimate those of others by."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, select

from jobs.states import Status
from jobs.store.database import READ_ONLY
from jobs.store.records import spec_of
from jobs.store.tables import JOBS
from slimgpt.spec.prune import PruneSpec

MOST = 50


@dataclass(frozen=True, slots=True)
class Duration:
    """What a succeeded job was, and its seconds from the claim to the end.

    Attributes:
        parameters: of the dense model.
    """

    spec: PruneSpec
    parameters: int
    seconds: float


def last_durations(engine: Engine) -> list[Duration]:
    """Of at most 50 jobs of all owners, which one attempt finished, the latest first."""
    columns = JOBS.c.spec, JOBS.c.plan["parameters_before"], JOBS.c.started_at, JOBS.c.finished_at
    statement = (
        select(*columns)
        .where(JOBS.c.status == Status.SUCCEEDED, JOBS.c.attempt == 1)
        .order_by(JOBS.c.finished_at.desc())
        .limit(MOST)
    )
    with engine.execution_options(**READ_ONLY).connect() as connection:
        rows = connection.execute(statement).all()
    return [
        Duration(spec, parameters, (finished - started).total_seconds())
        for values, parameters, started, finished in rows
        if isinstance(spec := spec_of(values), PruneSpec) and parameters and started and finished
    ]
