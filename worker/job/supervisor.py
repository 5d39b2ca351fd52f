"""`Supervisor`: runs one job: claim, engine, publication, outcome.

1. Claim the job that was queued first; a message without a queued job behind it is dropped.
2. Run the engine while the lease holds (`worker.job.attempt`), on uploads that were brought first.
3. Publish what it made under this epoch's prefix (`worker.job.publication`), then point the row at
   it
   in one statement.
4. Remove the working folder if the job has ended; keep it for the next attempt if not, and of a
   failed job the finished layers, for a retry.

Everything after the claim is guarded by the epoch: two workers on one job can't both finish it.
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
from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.database import identity
from jobs.store.reclaims import reclaim
from jobs.store.records import Claim
from jobs.store.store import Store
from slimgpt.errors import ResumeError
from worker import metrics
from worker.job.attempt import TICK_SECONDS, Attempt
from worker.job.attempt_result import AttemptResult, Completed, Failure, Killed, Stopped, reason
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
"""Longest wait for layers on their way to the store, when a job may go on elsewhere."""
REST_SECONDS = 30.0
"""Pause after a job that this machine's disk or mounts could not do.

Such a failure takes no time: without a pause one broken machine fails the whole queue of many.
"""
log = structlog.get_logger(__name__)


class Supervisor:
    """Works on one job at a time.

    Args:
        settings: of the worker.
        store: the truth.
        progress: hints for those who watch.
        artifacts: where checkpoints are published.
        shutting_down: whether the worker was asked to stop.
        alive: called again and again while a job's lease is looked after.
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
        # A container that starts again has its predecessor's host name and process ids.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._identity: str | None = None
        self._broken = False

    def run(self, job_id: str) -> Outcome:
        """Do the job that was queued first; the one in the message, if it is the only one.

        Messages are counted, not read: as many come as jobs are queued, in any order.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is away before anything was claimed.
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
            self.progress.start(job_id)
            self.progress.record_status(job_id, Status.RUNNING)
            with metrics.busy.track_inprogress():
                outcome = self._guarded(claim)
            self.progress.settle()
            log.info("done", outcome=str(outcome))
            metrics.ended(str(outcome))
            if outcome is Outcome.LOST:
                self._sweep_lost()
            if self._broken:
                self._rest()
            return outcome

    def _sweep_lost(self) -> None:
        """Another may have ended the job while we held its folder: it is ours to remove."""
        with suppress(SQLAlchemyError, OSError):
            sweep(self.settings.work_root, self._over)

    def _claim(self) -> Claim | None:
        # The message is gone: without patience here the job would wait to be sent again.
        patient = Retrying(
            retry=retry_if_exception_type(AWAY),
            wait=wait_exponential(0.2, max=3.0),
            stop=stop_after_delay(CLAIM_SECONDS),
            reraise=True,
        )
        claim = None
        for attempt in patient:
            with attempt:
                # The connection may have broken after the commit and before its answer.
                before = attempt.retry_state.attempt_number > 1
                claim = reclaim(self.store, self.worker) if before else None
                claim = claim or self.store.claim_next(self.worker)
        return claim

    def _guarded(self, claim: Claim) -> Outcome:
        """Nothing that goes wrong here may leave the job without an end."""
        with Lease(self.store, claim, self.alive) as lease:
            recorder = OutcomeRecorder(self.store, self.progress, claim, lease)
            try:
                return self._ended(claim, lease, recorder)
            except LeaseLost:
                return Outcome.LOST

    def _ended(self, claim: Claim, lease: Lease, recorder: OutcomeRecorder) -> Outcome:
        try:
            if self.shutting_down():
                return recorder.stopped(Stopped("shutdown"))
            return self._work(claim, lease, recorder)
        except LeaseLost:
            raise
        except Exception as error:
            self._broken = isinstance(error, OSError)
            log.exception("the worker could not do the job")
            message = f"the worker could not do the job: {reason(error)}"
            hint = "look at the worker's log, disk and settings, then submit it again"
            return recorder.failed(Failure("worker-error", message, hint))

    def _rest(self) -> None:
        """Leave the queue to others for a while; on shutdown, end at once."""
        log.warning("this worker rests after a failure of its machine", seconds=REST_SECONDS)
        self._broken, over = False, time.monotonic() + REST_SECONDS
        while time.monotonic() < over and not self.shutting_down():
            self.alive()
            time.sleep(TICK_SECONDS)

    def _work(self, claim: Claim, lease: Lease, recorder: OutcomeRecorder) -> Outcome:
        root, share = self.settings.work_root, sharing_enabled(self.settings, self.artifacts)
        service = lease.persist(self._service)
        with open_folder(root, claim, service) as folder:
            layers = SharedLayers(self.artifacts, claim, folder.layers, on=share)
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
            if outcome is Outcome.FAILED:  # the store's layers are the reaper's to remove in time
                if not folder.keep_layers():
                    folder.remove()
            elif outcome in ENDED:
                layers.remove()
                folder.remove()
        return outcome

    def _prune(
        self, claim: Claim, lease: Lease, folder: WorkFolder, layers: SharedLayers
    ) -> AttemptResult:
        """Run the engine, from the last layer that is finished anywhere."""
        why = partial(stop_reason, lease, self.shutting_down)
        uploads = Uploads(CalibrationSets(self.store.engine), self.artifacts, lease)
        if (missing := uploads.fetch(claim.spec, folder.uploads, why)) is not None:
            return missing
        try:
            brought = run_cancellable(layers.fetch, why)
        except StopRequested as stop:
            return Stopped(stop.why)
        folder = replace(folder, resume=folder.resume or brought)
        ended = self._attempt(claim, lease).run(folder, layers)
        if folder.resume and isinstance(ended, Failure) and ended.code == ResumeError.code:
            # A model or text that this machine has another version of, or that has changed.
            log.warning("the finished layers are of another input", message=ended.message)
            folder.clear()
            layers.forget()
            ended = self._attempt(claim, lease).run(replace(folder, resume=False), layers)
        if ended == Stopped("shutdown") or isinstance(ended, Failure | Killed):
            layers.settle(COPY_SECONDS)
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
        why = partial(stop_reason, lease, self.shutting_down)
        ended = publication.run(folder.engine, done.result, why)
        if isinstance(ended, Published):
            return recorder.succeeded(ended, publication)
        return recorder.failed(ended) if isinstance(ended, Failure) else recorder.stopped(ended)

    def _over(self, owners: Mapping[str, str]) -> set[str]:
        """Which working folders' jobs need them no more; when in doubt, they do.

        A failed job's layers wait for a retry, as long as there is room.
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
        # A folder of a job that is unknown here may be another service's.
        deleted = {job for job, owner in owners.items() if owner == here and job not in known}
        return ended | (deleted if here else set())

    def _service(self) -> str:
        """Which service this is, by its database; asked once."""
        if self._identity is None:
            self._identity = identity(self.store.engine)
        return self._identity
