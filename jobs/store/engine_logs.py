"""`EngineLogs`: what the last failed engine of a job wrote, and its memory at the end.

It is kept beside the job, not in it: nothing but its own request reads it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Engine, select, update

from jobs.states import HELD
from jobs.store.database import READ_ONLY
from jobs.store.leases import plain
from jobs.store.tables import JOBS


@dataclass(frozen=True, slots=True)
class EngineEnd:
    """How an engine ended without a result. Memory is in bytes; None: not known.

    Attributes:
        attempt: of the job.
        ended_at: ISO 8601, UTC.
        where: what the engine was doing: "stage prune, after layer 3 of 32".
        exit_status: negative for a signal.
        memory_bytes: resident memory of the engine's processes when they were last looked at.
        peak_bytes: peak resident memory of the engine.
        available_bytes: memory that the machine had left then.
        lines: the last lines of its standard error, without secrets and paths of the machine.
    """

    attempt: int
    ended_at: str
    where: str
    exit_status: int | None
    memory_bytes: int | None
    peak_bytes: int | None
    available_bytes: int | None
    lines: list[str]


class EngineLogs:
    """The column `engine_log` of jobs.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, job_id: str, epoch: int, end: EngineEnd) -> bool:
        """Keep an engine's end in place of an earlier one. False: the lease is lost."""
        statement = (
            update(JOBS)
            .where(JOBS.c.id == job_id, JOBS.c.lease_epoch == epoch, JOBS.c.status.in_(HELD))
            .values(engine_log=plain(asdict(end)))
        )
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def get(self, job_id: str) -> EngineEnd | None:
        """The end of the job's last failed engine; None if none has failed."""
        statement = select(JOBS.c.engine_log).where(JOBS.c.id == job_id)
        with self._engine.execution_options(**READ_ONLY).connect() as connection:
            found = connection.scalar(statement)
        return None if found is None else EngineEnd(**found)
