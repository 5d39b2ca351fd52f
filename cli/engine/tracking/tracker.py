"""`Tracker`: logs every succeeded job of a service to MLflow, continuously.

The state is in MLflow: a job that has a run is not logged again. So a tracker can be stopped,
killed and started on any machine, and catches up after an outage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cli.engine.tracking import report_source
from slimgpt.errors import SlimGPTError

if TYPE_CHECKING:
    from slimgpt.client import Client, JobSummary
    from slimgpt.report.tracking.mlflow_run import Destination, LoggedRun

SUCCEEDED = "succeeded"


class Tracker:
    """Logs a service's jobs.

    Args:
        client: of the source of jobs; with an admin's key, those of all owners.
        place: where they are logged.
        whole: whether checkpoints are sent.
        failed: called with the job and the reason if it cannot be logged now.
    """

    def __init__(
        self,
        client: Client,
        place: Destination,
        *,
        whole: bool,
        failed: Callable[[str, str], None],
    ) -> None:
        self._client = client
        self._place = place
        self._whole = whole
        self._failed = failed
        self._done: set[str] | None = None
        self._later: set[str] = set()

    def look(self) -> Iterator[LoggedRun]:
        """Log new jobs, oldest first; jobs that failed before come last.

        Raises:
            ClientError: the service does not list its jobs.
            TrackingError: MLflow does not list its runs.
        """
        from slimgpt.client import ClientError, UnavailableError, UnreachableError

        if self._done is None:
            self._done = self._logged()
        waiting = sorted(set(self._succeeded()) - self._done)
        self._later &= set(waiting)  # the others were deleted
        waiting.sort(key=lambda job: job in self._later)
        for job in waiting:
            try:
                with report_source.of_job(self._client, job, whole=self._whole) as one:
                    logged = one.log(self._place, whole=self._whole)
            except (SlimGPTError, ClientError, OSError) as error:
                self._later.add(job)
                self._failed(job, str(error))
                if isinstance(
                    error, UnreachableError | UnavailableError
                ):  # so are the others' files
                    return
                continue
            self._done.add(job)
            self._later.discard(job)
            yield from logged

    @property
    def behind(self) -> bool:
        """Whether a job could not be logged at the last look."""
        return bool(self._later)

    def _logged(self) -> set[str]:
        """Jobs that MLflow already has completely."""
        from slimgpt.report.tracking import mlflow_run

        runs = mlflow_run.finished(self._place, whole=self._whole)
        return {
            job.id for job in self._jobs() if runs[job.id] >= len(job.spec.get("ratios") or [None])
        }

    def _succeeded(self) -> Iterator[str]:
        """Ids of the jobs whose files have not expired."""
        yield from (job.id for job in self._jobs() if not job.artifacts_removed_at)

    def _jobs(self) -> Iterator[JobSummary]:
        return self._client.jobs.all(status=SUCCEEDED)
