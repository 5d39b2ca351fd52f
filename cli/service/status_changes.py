"""Status changes of jobs as printed by `slimgpt up`, and whether any job is running."""

from __future__ import annotations

import time

from sqlalchemy.exc import SQLAlchemyError

from jobs.states import HELD, TERMINAL, Status
from jobs.store.lists.summaries import JobSummary
from jobs.store.records import Job
from jobs.store.store import Store

NEWEST = 50
LOOK_SECONDS = 0.25
LINGER_SECONDS = 2.0


class StatusChanges:
    """Reports each change of a job's status once, except of jobs finished before the start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Status] | None = None

    def read(self) -> list[str]:
        """The changes since the last call, one per line; none while the database is unavailable."""
        try:
            jobs = self._look()
        except SQLAlchemyError:
            return []
        known = self._known
        if known is None:
            known = {job.id: job.status for job in jobs if job.terminal}
        changes = [_line(job) for job in jobs if known.get(job.id) != job.status]
        self._known = {job.id: job.status for job in jobs}
        return changes

    def _look(self) -> list[Job | JobSummary]:
        """The newest jobs and those that were unfinished, oldest first."""
        jobs: dict[str, Job | JobSummary] = {
            job.id: job for job in self._store.list(limit=NEWEST).items
        }
        for job_id, status in (self._known or {}).items():
            if status not in TERMINAL and job_id not in jobs and (job := self._store.get(job_id)):
                jobs[job_id] = job
        return [jobs[job_id] for job_id in sorted(jobs)]


class WorkersIdle:
    """Whether no worker has held a job for `LINGER_SECONDS`; limits its queries."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_look = 0.0
        self._free_since: float | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._free_since = (self._free_since or now) if self._free() else None
        return self._free_since is not None and now - self._free_since > LINGER_SECONDS

    def _free(self) -> bool:
        try:
            return not self._store.list(status=HELD, limit=1).items
        except SQLAlchemyError:
            return False


def _line(job: Job | JobSummary) -> str:
    what = f"{job.spec.model} to {job.spec.target}"
    reason = f": {job.error.get('message', '')}" if job.error else ""
    return f"{job.id} {job.status} ({what}){reason}"
