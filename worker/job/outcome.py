"""`OutcomeRecorder`: writes the outcome of a claimed job to the store.

If the answer to a commit is lost, the statement is repeated and its guard refuses it. So a refused
statement is followed by a look at the row: it may already have the wanted state.
"""

from __future__ import annotations

from enum import StrEnum

import structlog

from jobs.messages.progress import Progress
from jobs.states import Status
from jobs.store.records import Claim
from jobs.store.store import Store
from slimgpt.events import Warned
from worker import metrics
from worker.job.attempt_result import Failure, Killed, Stopped
from worker.job.lease import Lease
from worker.job.publication import Publication, Published

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """The result of handling a message."""

    DUPLICATE = "duplicate"  # no job was queued
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"  # queued again because of a shutdown
    KILLED = "killed"  # a signal ended the engine; queued again for the next attempt
    LOST = "lost"  # the lease is lost; another process decides


ENDED = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})


class OutcomeRecorder:
    """Ends one claim.

    Args:
        store: holds the job's row.
        progress: notified after the row is written.
        claim: the claim to end.
        lease: of the claim; while it holds, writes are retried until the store answers.

    Raises (all methods):
        LeaseLost: the lease expired before the store answered.
    """

    def __init__(self, store: Store, progress: Progress, claim: Claim, lease: Lease) -> None:
        self._store = store
        self._progress = progress
        self._lease = lease
        self._id, self._epoch = claim.job.id, claim.epoch

    def succeeded(self, published: Published, publication: Publication) -> Outcome:
        """Make the published files the job's result; remove them if the job was cancelled."""
        finished = self._lease.persist(
            lambda: self._store.finish(
                self._id,
                self._epoch,
                prefix=published.prefix,
                result=published.result,
                report=published.report,
                artifacts_bytes=published.size,
            )
        )
        if finished or self._has_status(Status.SUCCEEDED):
            return self._announce(Status.SUCCEEDED, Outcome.SUCCEEDED)
        publication.rollback()
        return self.stopped(Stopped("cancel"))

    def failed(self, failure: Failure) -> Outcome:
        """Fail the job, unless it was cancelled first."""
        log.warning("failed", code=failure.code, message=failure.message)
        error = failure.error()
        failed = self._lease.persist(lambda: self._store.fail(self._id, self._epoch, error))
        if failed or self._has_status(Status.FAILED):
            metrics.failed(failure.code)
            return self._announce(Status.FAILED, Outcome.FAILED)
        return self.stopped(Stopped("cancel"))

    def killed(self, killed: Killed, claim: Claim) -> Outcome:
        """Queue a job again whose engine was killed; fail it if that happened there before.

        A killed engine costs an attempt, like a lost worker, but no finished layer.
        """
        before = claim.job.engine_kills or []
        twice = any(kill.get("where") == killed.where for kill in before)
        if not twice:
            log.warning("engine killed", **killed.record())
            kills = [*before, killed.record()]
            message = f"{killed.message()}; the job resumes after its last finished layer"
            event = Warned(message=message)
            self._lease.persist(lambda: self._store.warn(self._id, self._epoch, event))
            again = self._lease.persist(
                lambda: self._store.engine_killed(self._id, self._epoch, kills)
            )
            if again or self._has_status(Status.QUEUED):
                self._progress.record(self._id, event)
                return self._announce(Status.QUEUED, Outcome.KILLED)
        return self.failed(killed.failure(twice=twice))

    def stopped(self, stopped: Stopped) -> Outcome:
        """Cancel the job, or queue it again on shutdown; a lost lease is not written."""
        if stopped.reason == "lost":
            return Outcome.LOST
        if stopped.reason == "shutdown" and self._released():
            return self._announce(Status.QUEUED, Outcome.RELEASED)
        cancelled = self._lease.persist(lambda: self._store.cancelled(self._id, self._epoch))
        if cancelled or self._has_status(Status.CANCELLED):
            return self._announce(Status.CANCELLED, Outcome.CANCELLED)
        return Outcome.LOST

    def _released(self) -> bool:
        released = self._lease.persist(lambda: self._store.release(self._id, self._epoch))
        return released or self._has_status(Status.QUEUED)

    def _has_status(self, status: Status) -> bool:
        """Whether the row already has this status, in this epoch."""
        job = self._lease.persist(lambda: self._store.get(self._id))
        return job is not None and (job.status, job.lease_epoch) == (status, self._epoch)

    def _announce(self, status: Status, outcome: Outcome) -> Outcome:
        self._progress.record_status(self._id, status)
        return outcome
