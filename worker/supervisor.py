"""`Supervisor`: takes a job from its message to its end.

1. Claim it; a message without a queued job behind it is dropped.
2. Run the engine while the lease holds (`worker.attempt`).
3. Publish what it made under this epoch's prefix, then point the row at it in one statement.
4. Remove the working folder if the job has ended; keep it for the next attempt if not.

Everything after the claim is guarded by the epoch: two workers on one job can't both finish it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from jobs.artifacts import Artifacts
from jobs.job import Claim
from jobs.progress import Progress
from jobs.settings import Settings
from jobs.states import Status
from jobs.store import Store
from slimgpt.events import Result, StageFinished, StageStarted
from worker.attempt import Attempt
from worker.ending import Broken, Completed, Ending, Stopped, reason
from worker.lease import AWAY, Lease, LeaseLost
from worker.workfolder import WorkFolder, open_folder, sweep

PUBLISH_ATTEMPTS = 3
CLAIM_SECONDS = 30.0
log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a message."""

    DUPLICATE = "duplicate"  # there was nothing to claim
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"  # given back on shutdown
    LOST = "lost"  # the lease ran out; somebody else decides


ENDED = frozenset({Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED})


class Supervisor:
    """Works on one job at a time.

    Args:
        settings: of the worker.
        store: the truth.
        progress: hints for those who watch.
        artifacts: where checkpoints are published.
        shutting_down: whether the worker was asked to stop.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        progress: Progress,
        artifacts: Artifacts,
        shutting_down: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self.store = store
        self.progress = progress
        self.artifacts = artifacts
        self.shutting_down = shutting_down
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    def run(self, job_id: str) -> Outcome:
        """Do the job, if it is there to be done.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is away before anything was claimed.
        """
        sweep(self.settings.work_root, self._ended)
        claim = self._claim(job_id)
        if claim is None:
            log.info("nothing to claim", job=job_id)
            return Outcome.DUPLICATE
        with structlog.contextvars.bound_contextvars(
            job=job_id, epoch=claim.epoch, attempt=claim.attempt
        ):
            log.info("claimed", model=claim.job.spec.model)
            self.progress.start(job_id)
            self.progress.record_status(job_id, Status.RUNNING)
            outcome = self._guarded(claim)
            log.info("done", outcome=str(outcome))
            return outcome

    def _claim(self, job_id: str) -> Claim | None:
        # The message is gone: without patience here the job would wait to be sent again.
        patient = Retrying(
            retry=retry_if_exception_type(AWAY),
            wait=wait_exponential(0.2, max=3.0),
            stop=stop_after_delay(CLAIM_SECONDS),
            reraise=True,
        )
        return patient(self.store.claim, job_id, self.worker)

    def _guarded(self, claim: Claim) -> Outcome:
        """Nothing that goes wrong here may leave the job without an end."""
        with Lease(self.store, claim) as lease:
            try:
                if self.shutting_down():
                    return self._stop(claim, lease, Stopped("shutdown"))
                return self._work(claim, lease)
            except LeaseLost:
                return Outcome.LOST
            except Exception as error:
                log.exception("the worker could not do the job")
                message = f"the worker could not do the job: {reason(error)}"
                hint = "look at the worker's log, disk and settings, then submit it again"
                return self._fail(claim, lease, Broken("worker-error", message, hint))

    def _work(self, claim: Claim, lease: Lease) -> Outcome:
        root = self.settings.work_root
        with open_folder(root, claim.job.id, claim.epoch, claim.job.spec) as folder:
            ended = Attempt(
                self.settings, self.store, self.progress, claim, lease, self.shutting_down
            ).run(folder)
            outcome = self._settle(claim, lease, folder, ended)
            if outcome in ENDED:
                folder.remove()
        return outcome

    def _settle(self, claim: Claim, lease: Lease, folder: WorkFolder, ended: Ending) -> Outcome:
        if isinstance(ended, Completed):
            return self._succeed(claim, lease, folder, ended.result)
        if isinstance(ended, Broken):
            return self._fail(claim, lease, ended)
        return self._stop(claim, lease, ended)

    def _succeed(self, claim: Claim, lease: Lease, folder: WorkFolder, result: Result) -> Outcome:
        prefix = f"jobs/{claim.job.id}/{claim.epoch}"
        try:
            checkpoint = _inside(folder.engine, result.checkpoint)
            report = _read_report(checkpoint)
        except (OSError, ValueError) as error:
            words = "the engine reported success, but its checkpoint or report.json is not usable: "
            return self._fail(claim, lease, Broken("engine-protocol", words + reason(error), ""))
        lease.write(lambda: self.store.stage(claim.job.id, claim.epoch, "publish"))
        self.progress.record(claim.job.id, StageStarted(stage="publish"))
        began = time.monotonic()
        try:
            self._publish(prefix, checkpoint)
        except Exception as error:
            # Every object store has exceptions of its own; each means the same here.
            log.exception("publishing failed", prefix=prefix)
            self._take_back(prefix)
            words = f"the result could not be published: {reason(error)}"
            hint = "look at the space and the settings of the artifact store, then submit it again"
            return self._fail(claim, lease, Broken("publish-failed", words, hint))
        seconds = time.monotonic() - began
        self.progress.record(claim.job.id, StageFinished(stage="publish", seconds=seconds))
        return self._point(claim, lease, prefix, result, report)

    def _publish(self, prefix: str, checkpoint: Path) -> None:
        retrying = Retrying(
            retry=retry_if_not_exception_type(ValueError),  # the files are at fault
            stop=stop_after_attempt(PUBLISH_ATTEMPTS),
            wait=wait_exponential(0.5),
            reraise=True,
        )
        retrying(self.artifacts.put, prefix, checkpoint)

    def _point(
        self, claim: Claim, lease: Lease, prefix: str, result: Result, report: dict[str, Any]
    ) -> Outcome:
        """Make the published files the job's result, or take them back."""
        job_id, epoch = claim.job.id, claim.epoch
        finished = lease.persist(
            lambda: self.store.finish(
                job_id,
                epoch,
                prefix=prefix,
                result=json.loads(result.line()),
                report=report,
            )
        )
        if not finished:
            job = lease.persist(lambda: self.store.get(job_id))
            # A commit whose answer was lost is made again, and refused: it is ours all the same.
            finished = job is not None and job.artifacts_prefix == prefix
        if finished:
            return self._ended_as(job_id, Status.SUCCEEDED, Outcome.SUCCEEDED)
        self._take_back(prefix)
        return self._stop(claim, lease, Stopped("cancel"))

    def _take_back(self, prefix: str) -> None:
        """Remove what was published or half published; the job's end doesn't hang on it."""
        try:
            self.artifacts.delete(prefix)
        except Exception:
            log.exception("files are left in the artifact store", prefix=prefix)

    def _fail(self, claim: Claim, lease: Lease, broken: Broken) -> Outcome:
        job_id = claim.job.id
        log.warning("failed", code=broken.code, message=broken.message)
        if lease.persist(lambda: self.store.fail(job_id, claim.epoch, broken.error())):
            return self._ended_as(job_id, Status.FAILED, Outcome.FAILED)
        return self._stop(claim, lease, Stopped("cancel"))

    def _stop(self, claim: Claim, lease: Lease, stopped: Stopped) -> Outcome:
        """End a cancelled job, give back one on shutdown; a lost one is nobody's business here."""
        job_id, epoch = claim.job.id, claim.epoch
        if stopped.why == "lost":
            return Outcome.LOST
        if stopped.why == "shutdown" and lease.persist(lambda: self.store.release(job_id, epoch)):
            return self._ended_as(job_id, Status.QUEUED, Outcome.RELEASED)
        if lease.persist(lambda: self.store.cancelled(job_id, epoch)):
            return self._ended_as(job_id, Status.CANCELLED, Outcome.CANCELLED)
        return Outcome.LOST

    def _ended_as(self, job_id: str, status: Status, outcome: Outcome) -> Outcome:
        self.progress.record_status(job_id, status)
        return outcome

    def _ended(self, job_id: str) -> bool:
        """Whether a working folder's job needs it no more; when in doubt, it does."""
        try:
            job = self.store.get(job_id)
        except SQLAlchemyError:
            return False
        # A folder of an unknown job may be another service's.
        return job is not None and job.terminal


def _inside(folder: Path, name: str) -> Path:
    """A folder below another, links resolved.

    Raises:
        ValueError: it leads elsewhere, or is no folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_dir():
        raise ValueError(f"{name!r} is not a folder below the working folder")
    return path


def _read_report(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's report.json.

    Raises:
        OSError: there is none.
        ValueError: it is not a JSON object.
    """
    report = json.loads((checkpoint / "report.json").read_text(encoding="utf-8"))
    if not isinstance(report, dict):
        raise ValueError("report.json is not a JSON object")
    return report
