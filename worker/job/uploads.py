"""`Uploads`: fetches the uploaded texts that a job uses and verifies their SHA-256; removes
unfinished uploads. The engine itself has no credentials for the store.

    WORK_ROOT/JOB_ID/uploads/SET_ID.jsonl
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import structlog

from jobs.files.artifacts import Artifact, Artifacts, HashMismatch
from jobs.files.calibration_sets import CalibrationSet, CalibrationSets, discard, named_in
from jobs.files.transfer import Stop
from slimgpt.spec.prune import PruneSpec
from worker.job.attempt_result import Failure, Stopped, StopReason, public_message
from worker.job.cancellation import StopRequested, run_cancellable
from worker.job.lease import Lease

UNFINISHED_SECONDS = 3600.0
"""An upload that is incomplete after this time was interrupted; the API's own limit is shorter."""
log = structlog.get_logger(__name__)


class Uploads:
    """The uploads that a job uses.

    Args:
        sets: the table of uploads.
        artifacts: holds their files.
        lease: of the job; retries while the database is unavailable.
    """

    def __init__(self, sets: CalibrationSets, artifacts: Artifacts, lease: Lease) -> None:
        self._sets = sets
        self._artifacts = artifacts
        self._lease = lease

    def fetch(
        self, spec: PruneSpec, folder: Path, reason: Callable[[], StopReason | None]
    ) -> Failure | Stopped | None:
        """Fetch the uploads that the job uses; files that are already there are kept.

        Args:
            folder: receives the files; created if needed.
            reason: returns the reason to stop; called during transfers.

        Returns:
            Why the attempt ends here; None if the engine may start.

        Raises:
            LeaseLost: the lease expired before the database answered.
        """
        for set_id in sorted(set(named_in(spec).values())):
            found = self._lease.persist(lambda set_id=set_id: self._sets.get(set_id))  # type: ignore[misc]
            if found is None:
                return _gone(set_id)
            folder.mkdir(exist_ok=True)
            if ended := self._fetch_file(found, folder / found.file, reason):
                return ended
        return None

    def _fetch_file(
        self, found: CalibrationSet, target: Path, reason: Callable[[], StopReason | None]
    ) -> Failure | Stopped | None:
        if _is(target, found):
            return None
        artifact = Artifact(found.file, found.size, found.sha256)

        def fetch(stop: Stop) -> None:
            self._artifacts.fetch(found.prefix, artifact, partial, stop)

        partial = target.with_name(f"{target.name}.partial")
        try:
            run_cancellable(fetch, reason)
            partial.replace(target)
        except StopRequested as stop:
            return Stopped(stop.reason)
        except FileNotFoundError:
            return _gone(found.id)
        except HashMismatch:
            message = f"the stored text upload:{found.id} differs from what was uploaded"
            hint = "upload it again and use its new id"
            return Failure("calibration-set-damaged", message, hint)
        except OSError as error:
            log.exception("an upload cannot be fetched", set=found.id)
            message = f"the text upload:{found.id} could not be fetched: {public_message(error)}"
            hint = "check the artifact store and the worker's disk, then retry the job"
            return Failure("calibration-set-unavailable", message, hint)
        log.info("upload fetched", set=found.id, size=found.size)
        return None


def sweep(set_id: str, sets: CalibrationSets, artifacts: Artifacts) -> bool:
    """Remove the rest of an interrupted upload or removal. Returns True.

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
        "upload the text again and post the job with its new id",
    )


def _is(path: Path, found: CalibrationSet) -> bool:
    """Whether an earlier attempt has fetched it."""
    if not path.is_file() or path.stat().st_size != found.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == found.sha256
