"""`Supervisor`: runs one job: claim, engine, publication, outcome.

1. Claim the oldest queued job; a message without a queued job is dropped.
2. Fetch the uploads, then run the engine while the lease holds (`worker.job.attempt`).
3. Publish the result under this epoch's prefix (`worker.job.publication`), then make it the job's
   result in one statement.
4. Remove the working folder if the job has ended. Keep it for the next attempt otherwise; of a
   failed job keep the finished layers for a retry.

The epoch guards every write after the claim: two workers cannot both finish one job.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from shutil import disk_usage

import structlog
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from jobs.files.artifacts import Artifacts
from jobs.files.calibration_sets import CalibrationSets
from jobs.messages.expectation import Earlier, expectations
from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.database import identity
from jobs.store.lists.stage_times import earlier_jobs
from jobs.store.reclaims import reclaim
from jobs.store.records import Claim
from jobs.store.store import Store
from slimgpt.errors import ResumeError
from worker import metrics
from worker.engine.warm import Standby
from worker.job.attempt import TICK_SECONDS, Attempt
from worker.job.attempt_result import (
    AttemptResult,
    Completed,
    Failure,
    Killed,
    Stopped,
    public_message,
)
from worker.job.cancellation import StopRequested, run_cancellable, stop_reason
from worker.job.lease import AWAY, Lease, LeaseLost
from worker.job.outcome import ENDED, Outcome, OutcomeRecorder
from worker.job.publication import Publication, Published
from worker.job.shared_layers import SharedLayers, sharing_enabled
from worker.job.uploads import Uploads
from worker.job.workfolder import WorkFolder, open_folder, sweep

__all__ = ["Outcome", "Supervisor"]
CLAIM_SECONDS = 30.0
COPY_SECONDS = 5.0
"""Longest wait for layers to be copied, when the job may resume on another machine."""
PAUSE_SECONDS = 30.0
"""Pause after an OSError of this machine, such as a full disk or a lost mount.

Such a failure is immediate: without a pause one broken machine would fail the whole queue.
"""
log = structlog.get_logger(__name__)


class Supervisor:
    """Runs one job at a time.

    Args:
        settings: of the worker.
        store: authoritative for jobs.
        progress: receives events for status and event streams.
        artifacts: receives checkpoints.
        shutting_down: returns whether the worker was asked to stop.
        alive: called repeatedly while a job runs.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        progress: Progress,
        artifacts: Artifacts,
        shutting_down: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.progress = progress
        self.artifacts = artifacts
        self.shutting_down = shutting_down
        self.alive = alive
        # A restarted container has the host name and process ids of its predecessor.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.job: str | None = None
        """The job that is run now; other threads may look."""
        self._identity: str | None = None
        self.standby = Standby(settings)
        self._broken = False

    def run(self, job_id: str) -> Outcome:
        """Run the oldest queued job, whichever job the message names.

        There is one message per queued job, in any order.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is unavailable and nothing was claimed.
        """
        sweep(self.settings.work_root, self._over)
        claim = self._claim()
        if claim is None:
            log.info("nothing to claim", job=job_id)
            metrics.duplicate()
            return Outcome.DUPLICATE
        metrics.claimed(claim, self.store.lease_seconds)
        job_id = claim.job.id
        with structlog.contextvars.bound_contextvars(
            job=job_id,
            epoch=claim.epoch,
            attempt=claim.attempt,
            **self.progress.request_of(job_id),
        ):
            log.info("claimed", model=claim.spec.model)
            self.job = job_id
            try:
                with metrics.busy.track_inprogress():
                    outcome = self._guarded(claim)
            finally:
                self.job = None
                self.standby.prepare()
            self.progress.settle()
            log.info("done", outcome=str(outcome))
            metrics.ended(str(outcome))
            if outcome is Outcome.LOST:
                self._sweep_lost()
            if self._broken:
                self._pause()
            return outcome

    def _earlier(self) -> list[Earlier]:
        """Earlier jobs, for the estimate of time; none if the store does not answer."""
        try:
            return earlier_jobs(self.store.engine)
        except SQLAlchemyError:
            log.warning("earlier jobs could not be read: the time left is a guess", exc_info=True)
            return []

    def _sweep_lost(self) -> None:
        """Remove the folder if another worker has ended the job while this one held the folder."""
        with suppress(SQLAlchemyError, OSError):
            sweep(self.settings.work_root, self._over)

    def _claim(self) -> Claim | None:
        # The message is acknowledged: without retries the job would wait until it is sent again.
        retrying = Retrying(
            retry=retry_if_exception_type(AWAY),
            wait=wait_exponential(0.2, max=3.0),
            stop=stop_after_delay(CLAIM_SECONDS),
            reraise=True,
        )
        claim = None
        for attempt in retrying:
            with attempt:
                # The connection may have failed after the commit and before the answer.
                before = attempt.retry_state.attempt_number > 1
                claim = reclaim(self.store, self.worker) if before else None
                claim = claim or self.store.claim_next(self.worker)
        return claim

    def _guarded(self, claim: Claim) -> Outcome:
        """Run the claimed job; every error becomes an outcome."""
        with Lease(self.store, claim, self.alive) as lease:
            recorder = OutcomeRecorder(self.store, self.progress, claim, lease)
            try:
                return self._ended(claim, lease, recorder)
            except LeaseLost:
                return Outcome.LOST

    def _ended(self, claim: Claim, lease: Lease, recorder: OutcomeRecorder) -> Outcome:
        try:
            self.progress.start(claim.job.id, expectations(claim.spec, self._earlier()))
            self.progress.record_status(claim.job.id, Status.RUNNING)
            if self.shutting_down():
                return recorder.stopped(Stopped("shutdown"))
            return self._work(claim, lease, recorder)
        except LeaseLost:
            raise
        except Exception as error:
            self._broken = isinstance(error, OSError)
            log.exception("the worker could not do the job")
            message = f"the worker could not do the job: {public_message(error)}"
            hint = "check the worker's log, disk and settings, then retry the job"
            return recorder.failed(Failure("worker-error", message, hint))

    def _pause(self) -> None:
        """Leave the queue to other workers for a while; return at once on shutdown."""
        log.warning("this worker rests after a failure of its machine", seconds=PAUSE_SECONDS)
        self._broken, over = False, time.monotonic() + PAUSE_SECONDS
        while time.monotonic() < over and not self.shutting_down():
            self.alive()
            time.sleep(TICK_SECONDS)

    def _work(self, claim: Claim, lease: Lease, recorder: OutcomeRecorder) -> Outcome:
        root, share = self.settings.work_root, sharing_enabled(self.settings, self.artifacts)
        service = lease.persist(self._service)
        with open_folder(root, claim, service) as folder:
            over = partial(self._over, {claim.job.id: service})
            layers = SharedLayers(self.artifacts, claim, folder.layers, on=share, over=over)
            with layers:
                ended = self._prune(claim, lease, folder, layers)
                if isinstance(ended, Completed):
                    outcome = self._publish(claim, lease, folder, ended, recorder)
                elif isinstance(ended, Failure):
                    outcome = recorder.failed(ended)
                elif isinstance(ended, Killed):
                    outcome = recorder.killed(ended, claim)
                else:
                    outcome = recorder.stopped(ended)
            if outcome is Outcome.FAILED:  # the reaper removes the shared layers later
                if not folder.keep_layers():
                    folder.remove()
            elif outcome in ENDED:
                layers.remove()
                folder.remove()
        return outcome

    def _prune(
        self, claim: Claim, lease: Lease, folder: WorkFolder, layers: SharedLayers
    ) -> AttemptResult:
        """Run the engine, resuming from the most finished layers of any machine."""
        reason = partial(stop_reason, lease, self.shutting_down)
        uploads = Uploads(CalibrationSets(self.store.engine), self.artifacts, lease)
        if (missing := uploads.fetch(claim.spec, folder.uploads, reason)) is not None:
            return missing
        try:
            fetched = run_cancellable(layers.fetch, reason)
        except StopRequested as stop:
            return Stopped(stop.reason)
        folder = replace(folder, resume=folder.resume or fetched)
        ended = self._attempt(claim, lease).run(folder, layers, self.standby.taken())
        if folder.resume and isinstance(ended, Failure) and ended.code == ResumeError.code:
            # The model or a text has changed, or differs between machines.
            log.warning("the finished layers are of another input", message=ended.message)
            folder.clear()
            layers.reset()
            ended = self._attempt(claim, lease).run(replace(folder, resume=False), layers)
        if ended == Stopped("shutdown") or isinstance(ended, Failure | Killed):
            layers.wait_copied(COPY_SECONDS)
        return ended

    def _attempt(self, claim: Claim, lease: Lease) -> Attempt:
        return Attempt(self.settings, self.store, self.progress, claim, lease, self.shutting_down)

    def _publish(
        self,
        claim: Claim,
        lease: Lease,
        folder: WorkFolder,
        done: Completed,
        recorder: OutcomeRecorder,
    ) -> Outcome:
        lease.write(lambda: self.store.stage(claim.job.id, claim.epoch, "publish"))
        publication = Publication(self.artifacts, self.progress, claim)
        reason = partial(stop_reason, lease, self.shutting_down)
        ended = publication.run(folder.engine, done.result, reason)
        if isinstance(ended, Published):
            return recorder.succeeded(ended, publication)
        return recorder.failed(ended) if isinstance(ended, Failure) else recorder.stopped(ended)

    def _over(self, owners: Mapping[str, str]) -> set[str]:
        """The jobs whose working folders can be removed; none if the store does not answer.

        The layers of a failed job are kept for a retry, while the disk has room.
        """
        try:
            known = self.store.stale_files(owners)
            here = self._service()
        except SQLAlchemyError:
            return set()
        room = disk_usage(self.settings.work_root).free >= self.settings.min_free_bytes
        ended = {
            job_id
            for job_id, stale in known.items()
            if stale is not None and not (stale.layers_kept and room)
        }
        # A folder of an unknown job may belong to another service.
        deleted = {job for job, owner in owners.items() if owner == here and job not in known}
        return ended | (deleted if here else set())

    def _service(self) -> str:
        """The identity of this service's database, read once."""
        if self._identity is None:
            self._identity = identity(self.store.engine)
        return self._identity
