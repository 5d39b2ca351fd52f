"""`Uploads`: fetches the uploaded texts that a job names and verifies their SHA-256 (the engine has
no credentials); removes unfinished uploads.

    WORK_ROOT/JOB_ID/uploads/SET_ID.jsonl
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from jobs.files.artifacts import Artifact, Artifacts, TornFile
from jobs.files.calibration_sets import CalibrationSet, CalibrationSets, discard, named_in
from jobs.files.transfer import Stop
from slimgpt.spec.prune import PruneSpec
from worker.job.attempt_result import Failure, Stopped, StopReason, reason
from worker.job.cancellation import StopRequested, run_cancellable
from worker.job.lease import Lease

UNFINISHED_SECONDS = 3600.0
"""An upload that is not whole after so long was cut off; the API gives one up before."""
log = structlog.get_logger(__name__)


class Uploads:
    """The uploads that a job names.

    Args:
        sets: which there are.
        artifacts: where their files are.
        lease: of the job; it patiently asks the database.
    """

    def __init__(self, sets: CalibrationSets, artifacts: Artifacts, lease: Lease) -> None:
        self._sets = sets
        self._artifacts = artifacts
        self._lease = lease

    def bring(
        self, spec: PruneSpec, folder: Path, why: Callable[[], StopReason | None]
    ) -> Failure | Stopped | None:
        """Put the uploads that the job names into a folder; what is there already is kept.

        Args:
            folder: made if there is something to put into it.
            why: a reason to stop, asked while files are on their way.

        Returns:
            StopReason the job ends here; None if the engine may start.

        Raises:
            LeaseLost: the lease ran out before the database answered.
        """
        for set_id in sorted(set(named_in(spec).values())):
            found = self._lease.persist(lambda set_id=set_id: self._sets.get(set_id))  # type: ignore[misc]
            if found is None:
                return _gone(set_id)
            folder.mkdir(exist_ok=True)
            if ended := self._fetch(found, folder / found.file, why):
                return ended
        return None

    def _fetch(
        self, found: CalibrationSet, target: Path, why: Callable[[], StopReason | None]
    ) -> Failure | Stopped | None:
        if _is(target, found):
            return None
        artifact = Artifact(found.file, found.size, found.sha256)

        def fetch(stop: Stop) -> None:
            self._artifacts.fetch(found.prefix, artifact, aside, stop)

        aside = target.with_name(f"{target.name}.partial")
        try:
            run_cancellable(fetch, why)
            aside.replace(target)
        except StopRequested as stop:
            return Stopped(stop.why)
        except FileNotFoundError:
            return _gone(found.id)
        except TornFile:
            words = f"the text upload:{found.id} is not what was uploaded"
            return Failure("calibration-set-damaged", words, "upload it again, and name its new id")
        except OSError as error:
            log.exception("an upload cannot be fetched", set=found.id)
            words = f"the text upload:{found.id} could not be fetched: {reason(error)}"
            hint = "look at the artifact store and the worker's disk, then submit it again"
            return Failure("calibration-set-unavailable", words, hint)
        log.info("upload fetched", set=found.id, size=found.size)
        return None


def sweep(set_id: str, sets: CalibrationSets, artifacts: Artifacts) -> bool:
    """Remove what an upload or a removal that was cut off has left. True: it is gone.

    Raises:
        OSError: the artifact store does not answer.
        sqlalchemy.exc.SQLAlchemyError: the database does not.
    """
    discard(set_id, sets, artifacts)
    log.info("an upload that was cut off is removed", set=set_id)
    return True


def _gone(set_id: str) -> Failure:
    return Failure(
        "calibration-set-gone",
        f"the calibration set {set_id} was deleted after the job was posted",
        "upload the text again, and post the job with its new id",
    )


def _is(path: Path, found: CalibrationSet) -> bool:
    """Whether an earlier attempt has brought it."""
    if not path.is_file() or path.stat().st_size != found.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == found.sha256
