"""`OutcomeRecorder`: writes a claimed job's outcome (succeeded, failed, cancelled, released) to the store.

A statement whose commit was done but whose answer was lost is made again, and refused. So what was
refused is looked up: a row that says what we wanted says it for us.
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
    """What became of a message."""

    DUPLICATE = "duplicate"  # there was nothing to claim
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"  # given back on shutdown
    KILLED = "killed"  # its engine was; given back, for the next attempt
    LOST = "lost"  # the lease ran out; somebody else decides


ENDED = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})


class OutcomeRecorder:
    """Ends one claim.

    Args:
        store: where the job's row says it.
        progress: told after the row.
        claim: whose end it is.
        lease: of the claim; while it holds, a store that is away is waited for.

    Raises (all methods):
        LeaseLost: the lease ran out before the store came back.
    """

    def __init__(self, store: Store, progress: Progress, claim: Claim, lease: Lease) -> None:
        self._store = store
        self._progress = progress
        self._lease = lease
        self._id, self._epoch = claim.job.id, claim.epoch

    def succeeded(self, published: Published, publication: Publication) -> Outcome:
        """Make the published files the job's result, or take them back."""
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
        if finished or self._says(Status.SUCCEEDED):
            return self._over(Status.SUCCEEDED, Outcome.SUCCEEDED)
        publication.rollback()
        return self.stopped(Stopped("cancel"))

    def failed(self, broken: Failure) -> Outcome:
        """Fail the job, unless a cancel came first."""
        log.warning("failed", code=broken.code, message=broken.message)
        error = broken.error()
        failed = self._lease.persist(lambda: self._store.fail(self._id, self._epoch, error))
        if failed or self._says(Status.FAILED):
            metrics.failed(broken.code)
            return self._over(Status.FAILED, Outcome.FAILED)
        return self.stopped(Stopped("cancel"))

    def killed(self, killed: Killed, claim: Claim) -> Outcome:
        """Give back a job whose engine was killed; fail it where that was in the same place before.

        A lost engine is like a lost worker: it costs an attempt, and no layer.
        """
        before = claim.job.engine_kills or []
        twice = any(kill.get("where") == killed.where for kill in before)
        if not twice:
            log.warning("engine killed", where=killed.where, peak_bytes=killed.peak_bytes)
            kills = [*before, killed.kill()]
            words = f"{killed.words()}; the job goes on from its last layer"
            event = Warned(message=words)
            self._lease.persist(lambda: self._store.warn(self._id, self._epoch, event))
            again = self._lease.persist(
                lambda: self._store.engine_killed(self._id, self._epoch, kills)
            )
            if again or self._says(Status.QUEUED):
                self._progress.record(self._id, event)
                return self._over(Status.QUEUED, Outcome.KILLED)
        return self.failed(killed.broken(twice=twice))

    def stopped(self, stopped: Stopped) -> Outcome:
        """End a cancelled job, give back one on shutdown; a lost one is nobody's business here."""
        if stopped.why == "lost":
            return Outcome.LOST
        if stopped.why == "shutdown" and self._released():
            return self._over(Status.QUEUED, Outcome.RELEASED)
        cancelled = self._lease.persist(lambda: self._store.cancelled(self._id, self._epoch))
        if cancelled or self._says(Status.CANCELLED):
            return self._over(Status.CANCELLED, Outcome.CANCELLED)
        return Outcome.LOST

    def _released(self) -> bool:
        released = self._lease.persist(lambda: self._store.release(self._id, self._epoch))
        return released or self._says(Status.QUEUED)

    def _says(self, status: Status) -> bool:
        """Whether the row says so already, of this epoch."""
        job = self._lease.persist(lambda: self._store.get(self._id))
        return job is not None and (job.status, job.lease_epoch) == (status, self._epoch)

    def _over(self, status: Status, outcome: Outcome) -> Outcome:
        self._progress.record_status(self._id, status)
        return outcome
