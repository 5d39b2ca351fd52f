"""`Retention`: expiry and removal of artifacts and job records.

Expiry has two steps, so that a crash between them can be repaired and no row refers to removed
files: one guarded statement marks the files as expired; then the sweep that removes the files of
lost attempts removes them and records up to which epoch it has swept. An interrupted sweep is
repeated.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, func, select, update

from jobs.states import TERMINAL, Status
from jobs.store.clock import from_now, moment
from jobs.store.finished_jobs import FinishedJobs
from jobs.store.leases import touch
from jobs.store.records import Job, StaleFiles
from jobs.store.tables import JOB_COLUMNS, JOBS, PUBLISHED, UNSWEPT, job_of

BATCH = 200
DAY_SECONDS = 24 * 3600.0
STALE_COLUMNS = (
    JOBS.c.id,
    JOBS.c.status,
    JOBS.c.lease_epoch,
    JOBS.c.artifacts_prefix,
    JOBS.c.artifacts_removed_at,
    JOBS.c.layers_kept,
)


class Retention(FinishedJobs):
    """Expiry of files and records of finished jobs."""

    def expire_older(self, days: float) -> list[str]:
        """Expire the files of jobs that finished so long ago.

        Returns:
            the ids of a batch; call again until it is empty. `unswept` lists them for removal.
        """
        old = JOBS.c.finished_at <= moment(-days * DAY_SECONDS)
        found = select(JOBS.c.id).where(PUBLISHED, old).order_by(JOBS.c.finished_at).limit(BATCH)
        return self._expire(found)

    def expire_beyond(self, limit_bytes: int) -> list[str]:
        """Expire the files of the jobs that finished first, until the rest is within a limit.

        One statement selects them, so concurrent reapers do not expire more than necessary.

        Returns:
            as `expire_older`.
        """
        newest_first = (JOBS.c.finished_at.desc(), JOBS.c.id.desc())
        size = func.coalesce(JOBS.c.artifacts_bytes, 0)
        kept = func.sum(size).over(order_by=newest_first, rows=(None, 0)).label("kept")
        totals = select(JOBS.c.id, JOBS.c.finished_at, kept).where(PUBLISHED).subquery()
        beyond = (
            select(totals.c.id)
            .where(totals.c.kept > limit_bytes)
            .order_by(totals.c.finished_at)
            .limit(BATCH)
        )
        return self._expire(beyond)

    def expire_layers(self, days: float) -> list[str]:
        """Expire the layers of jobs that failed so long ago; returns as `expire_older`."""
        old = (JOBS.c.status == Status.FAILED, JOBS.c.finished_at <= moment(-days * DAY_SECONDS))
        found = select(JOBS.c.id).where(JOBS.c.layers_kept, *old).limit(BATCH)
        statement = (
            update(JOBS)
            .where(JOBS.c.id.in_(found), JOBS.c.status == Status.FAILED, JOBS.c.layers_kept)
            .values(layers_kept=False, swept_epoch=0)
            .returning(JOBS.c.id)
        )
        with self.engine.begin() as connection:
            return list(connection.scalars(statement))

    def unswept(self, after: str = "") -> list[StaleFiles]:
        """A batch of finished jobs whose unreferenced files are not removed yet, by id.

        Args:
            after: only jobs with a greater id, so that a failing sweep does not block others.
        """
        statement = (
            select(*STALE_COLUMNS)
            .where(UNSWEPT, JOBS.c.status.in_(TERMINAL), JOBS.c.id > after)
            .order_by(JOBS.c.id)
            .limit(BATCH)
        )
        with self._reading() as connection:
            return [_stale_files(row) for row in connection.execute(statement)]

    def stale_files(self, job_ids: Collection[str]) -> dict[str, StaleFiles | None]:
        """Unreferenced files of jobs, by id: None for an unfinished job; unknown ids are absent."""
        wanted, found = sorted(job_ids), dict[str, StaleFiles | None]()
        for start in range(0, len(wanted), BATCH):
            some = select(*STALE_COLUMNS).where(JOBS.c.id.in_(wanted[start : start + BATCH]))
            with self._reading() as connection:
                rows = connection.execute(some).all()
            found |= {row.id: _stale_files(row) if row.status in TERMINAL else None for row in rows}
        return found

    def swept(self, stale: StaleFiles) -> bool:
        """Record that the files are removed. False if the job was retried or expired meanwhile."""
        removed = JOBS.c.artifacts_removed_at
        statement = update(JOBS).where(
            JOBS.c.id == stale.id,
            JOBS.c.lease_epoch == stale.epoch,
            JOBS.c.status.in_(TERMINAL),
            removed.is_not(None) if stale.expired else removed.is_(None),
            JOBS.c.layers_kept == stale.layers_kept,
        )
        return self._apply(statement.values(swept_epoch=stale.epoch))

    def outdated(self, days: float) -> list[Job]:
        """A batch of jobs of each status that finished so long ago (`jobs.files.removal`)."""
        found: list[Job] = []
        for status in sorted(TERMINAL):  # one query per status uses the index
            statement = (
                select(*JOB_COLUMNS)
                .where(JOBS.c.status == status, JOBS.c.finished_at <= moment(-days * DAY_SECONDS))
                .order_by(JOBS.c.finished_at)
                .limit(BATCH)
            )
            with self._reading() as connection:
                found += [job_of(row) for row in connection.execute(statement).mappings()]
        return found

    def _expire(self, which: Select[Any]) -> list[str]:
        statement = (
            update(JOBS)
            .where(JOBS.c.id.in_(which), PUBLISHED, JOBS.c.status == Status.SUCCEEDED)
            .values(touch(artifacts_removed_at=from_now(), swept_epoch=0))
            .returning(JOBS.c.id)
        )
        with self.engine.begin() as connection:
            return list(connection.scalars(statement))


def _stale_files(row: Any) -> StaleFiles:
    expired = row.artifacts_removed_at is not None
    kept = None if expired else row.artifacts_prefix
    return StaleFiles(row.id, row.lease_epoch, kept, expired, row.layers_kept)
