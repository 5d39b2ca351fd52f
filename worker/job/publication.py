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
from worker.job.attempt_result import Failure, Stopped, StopReason, reason
from worker.job.cancellation import StopRequested, aside, run_cancellable

REPORT_BYTES = 64 << 20
TAKE_BACK_SECONDS = 3.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """The files are where the job's row may point."""

    prefix: str
    result: dict[str, Any]
    report: dict[str, Any]
    size: int
    """Bytes of all files."""


class Publication:
    """The end of a claim whose engine has succeeded.

    Args:
        artifacts: where the files go, under a prefix of this epoch.
        progress: told of the stage.
        claim: what was worked on.
    """

    def __init__(self, artifacts: Artifacts, progress: Progress, claim: Claim) -> None:
        self._artifacts = artifacts
        self._progress = progress
        self._id = claim.job.id
        self.prefix = prefixes.published(claim.job.id, claim.epoch)

    def run(
        self, folder: Path, result: Result, why: Callable[[], StopReason | None]
    ) -> Published | Failure | Stopped:
        """Put the files into the store. Unless this returns `Published`, none are there.

        Args:
            folder: the engine's working folder.
            result: what the engine said; names the checkpoint in the folder.
            why: a reason to stop, asked while files are on their way.
        """
        try:
            checkpoint = _inside(folder, result.checkpoint)
            report = _read_report(checkpoint)
        except (OSError, ValueError, RecursionError) as error:
            words = "the engine reported success, but its checkpoint or report.json is not usable: "
            return Failure("engine-protocol", words + reason(error), "")
        self._progress.record(self._id, StageStarted(stage="publish"))
        began = time.monotonic()
        try:
            files = run_cancellable(
                lambda stop: self._artifacts.put(self.prefix, checkpoint, stop), why
            )
        except StopRequested as stop:
            log.info("publishing stopped", why=stop.why)
            return Stopped(stop.why)
        except Exception as error:
            log.exception("publishing failed", prefix=self.prefix)
            self.rollback()
            words = f"the result could not be published: {reason(error)}"
            hint = "look at the space and the settings of the artifact store, then submit it again"
            return Failure("publish-failed", words, hint)
        seconds = time.monotonic() - began
        published = StageFinished(stage="publish", seconds=seconds)
        self._progress.record(self._id, published)
        size = sum(file.size for file in files)
        metrics.record_event(published)
        metrics.published_bytes.inc(size)
        kept = for_clients(json.loads(result.model_dump_json(exclude={"layers"})))
        return Published(self.prefix, kept, report, size)

    def take_back(self) -> None:
        """Remove what was published or half published; the job's end doesn't hang on it."""
        aside(self._take_back, TAKE_BACK_SECONDS)

    def _take_back(self) -> None:
        try:
            self._artifacts.delete(self.prefix)
        except Exception:
            log.exception("files are left in the artifact store", prefix=self.prefix)


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
        ValueError: it is not a JSON object, or no file, or too large to be one of ours.
        RecursionError: it is nested deeper than any report.
    """
    report = json.loads(redact(_read(checkpoint / "report.json").decode()))
    if not isinstance(report, dict):
        raise ValueError("report.json is not a JSON object")
    told: dict[str, Any] = for_clients(report)
    return told


def _read(path: Path) -> bytes:
    """A regular file's content: a link would lead elsewhere, a pipe would never end.

    Raises:
        OSError: it cannot be read, or is a link.
        ValueError: it is no regular file, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path.name} is not a regular file")
        content = file.read(REPORT_BYTES + 1)
    if len(content) > REPORT_BYTES:
        raise ValueError(f"{path.name} is larger than {REPORT_BYTES >> 20} MiB")
    return content
