"""`Publication`: uploads the engine's result from the working folder to the artifact store."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.logs.redaction import for_clients, redact
from jobs.messages.progress import Progress
from jobs.store.records import Claim
from slimgpt.events import Result, StageFinished, StageStarted
from worker import metrics
from worker.job.attempt_result import Failure, Stopped, StopReason, public_message
from worker.job.cancellation import StopRequested, run_cancellable, run_with_timeout

REPORT_BYTES = 64 << 20
ROLLBACK_SECONDS = 3.0
TELL_SECONDS = 5.0
"""Percent and time left go on this often during the upload."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """The files are complete in the artifact store."""

    prefix: str
    result: dict[str, Any]
    report: dict[str, Any]
    size: int
    """Bytes of all files."""


class Publication:
    """Publishes the result of an engine that succeeded.

    Args:
        artifacts: receives the files, under a prefix of this epoch.
        progress: receives the events of the stage `publish`.
        claim: the claimed job.
    """

    def __init__(self, artifacts: Artifacts, progress: Progress, claim: Claim) -> None:
        self._artifacts = artifacts
        self._progress = progress
        self._id, self._began = claim.job.id, claim.began
        self._last_tick = time.monotonic()
        self.prefix = prefixes.published(claim.job.id, claim.epoch)

    def run(
        self, folder: Path, result: Result, reason: Callable[[], StopReason | None]
    ) -> Published | Failure | Stopped:
        """Upload the files. Unless this returns `Published`, none are left in the store.

        Args:
            folder: the engine's working folder.
            result: the engine's last event; names the checkpoint in the folder.
            reason: returns the reason to stop; called during the upload.
        """
        try:
            checkpoint = _inside(folder, result.checkpoint)
            report = _read_report(checkpoint)
        except (OSError, ValueError, RecursionError) as error:
            message = "the engine reported success, but its checkpoint or report.json is not usable"
            return Failure("engine-protocol", f"{message}: {public_message(error)}", "")
        self._progress.record(self._id, StageStarted(stage="publish"))
        began = time.monotonic()
        try:
            files = run_cancellable(
                lambda stop: self._artifacts.put(self.prefix, checkpoint, stop),
                lambda: self._told(reason()),
            )
        except StopRequested as stop:
            log.info("publishing stopped", why=stop.reason)
            return Stopped(stop.reason)
        except Exception as error:
            log.exception("publishing failed", prefix=self.prefix)
            self.rollback()
            message = f"the result could not be published: {public_message(error)}"
            hint = "check the space and the settings of the artifact store, then retry the job"
            return Failure("publish-failed", message, hint)
        seconds = time.monotonic() - began
        published = StageFinished(stage="publish", seconds=seconds)
        self._progress.record(self._id, published)
        size = sum(file.size for file in files)
        metrics.record_event(published)
        metrics.published_bytes.inc(size)
        timed = result.model_copy(update=self._times(result))
        kept = for_clients(json.loads(timed.model_dump_json(exclude={"layers"})))
        return Published(self.prefix, kept, report, size)

    def _told(self, reason: StopReason | None) -> StopReason | None:
        """Let the progress go on; returns the reason."""
        if time.monotonic() - self._last_tick > TELL_SECONDS:
            self._last_tick = time.monotonic()
            self._progress.tick(self._id)
        return reason

    def _times(self, result: Result) -> dict[str, Any]:
        """Wall time since the claim, and its stages: those of the engine, and the rest of it."""
        seconds = time.time() - self._began
        engine = sum(result.stages.values())
        # The engine is told when the claim was; one that is not ours may tell anything.
        known = bool(result.stages) and 0 <= engine <= seconds
        stages = result.stages | {"publish": seconds - engine} if known else {}
        return {"seconds": seconds, "stages": stages}

    def rollback(self) -> None:
        """Remove published files; waits for the store only `ROLLBACK_SECONDS`."""
        run_with_timeout(self._delete, ROLLBACK_SECONDS)

    def _delete(self) -> None:
        try:
            self._artifacts.delete(self.prefix)
        except Exception:
            log.exception("files are left in the artifact store", prefix=self.prefix)


def _inside(folder: Path, name: str) -> Path:
    """The folder `name` below `folder`, with links resolved.

    Raises:
        ValueError: it is outside `folder`, or not a folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_dir():
        raise ValueError(f"{name!r} is not a folder below the working folder")
    return path


def _read_report(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's report.json.

    Raises:
        OSError: it does not exist.
        ValueError: it is not a regular file with a JSON object, or too large.
        RecursionError: it is nested too deeply.
    """
    report = json.loads(redact(_read(checkpoint / "report.json").decode()))
    if not isinstance(report, dict):
        raise ValueError("report.json is not a JSON object")
    redacted: dict[str, Any] = for_clients(report)
    return redacted


def _read(path: Path) -> bytes:
    """The content of a regular file; links and pipes are refused.

    Raises:
        OSError: it cannot be read, or is a link.
        ValueError: it is not a regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        content = file.read(REPORT_BYTES + 1)
    if len(content) > REPORT_BYTES:
        raise ValueError(f"{path.name} is larger than {REPORT_BYTES >> 20} MiB")
    return content
