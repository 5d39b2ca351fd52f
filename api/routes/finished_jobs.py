"""`POST /jobs/{id}/retry` and `DELETE /jobs/{id}`, for finished jobs."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, BackgroundTasks, Response
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import FoundJob, ServicesDep
from api.http.problems import Problem
from api.http.threads import in_storage_thread
from api.openapi import problems
from api.routes.jobs import POLL_SECONDS, dispatch, too_many_jobs
from api.schemas.jobs import JobView, RetryRequest
from api.schemas.paths import VERSION
from api.services import Services
from jobs.files.removal import remove_job
from jobs.states import Status
from jobs.store.lists.quotas import QuotaReached
from jobs.store.records import Job

router = APIRouter(prefix="/jobs", tags=["jobs"])
log = structlog.get_logger(__name__)


@router.post(
    "/{job_id}/retry", status_code=202, responses=problems(400, 404, 409, 413, 422, 429, 503)
)
def retry_job(
    job: FoundJob,
    services: ServicesDep,
    response: Response,
    later: BackgroundTasks,
    body: RetryRequest | None = None,
) -> JobView:
    """Queue a failed or cancelled job again, with new attempts.

    A failed job resumes after its last finished layer, while layers are kept
    (`SLIMGPT_LAYER_DAYS`), unless the body is `{"anew": true}`. A cancelled job starts again. A
    succeeded job cannot be retried: post a new one.
    """
    anew, most = body is not None and body.anew, services.settings.max_active_jobs
    try:
        queued = services.store.retry(job.id, anew=anew, max_active=most)
    except QuotaReached as error:
        raise too_many_jobs(error) from error
    now = services.store.get(job.id)
    if now is None:
        raise Problem("job-not-found", f"there is no job {job.id!r}")
    if not queued:
        code = "job-finished" if now.status == Status.SUCCEEDED else "job-not-finished"
        raise Problem(
            code, f"job {job.id} is {now.status}: only a failed or cancelled one can be retried"
        )
    later.add_task(dispatch, services, now)
    response.headers["Location"] = f"{VERSION}/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return JobView.of(now)


@router.delete("/{job_id}", status_code=204, responses=problems(404, 409, 503))
async def delete_job(job: FoundJob, services: ServicesDep) -> None:
    """Delete a finished job with its report and files. A second request gets 404."""
    await in_storage_thread(_remove, job, services)


def _remove(job: Job, services: Services) -> None:
    if not job.terminal:
        raise Problem("job-not-finished", f"job {job.id} is {job.status}; cancel it first")
    try:
        removed = remove_job(job, services.store, services.artifacts, services.progress)
    except SQLAlchemyError:
        raise
    except Exception as error:  # every object store has exceptions of its own
        log.exception("files not removed", job=job.id)
        reason = "its files cannot be removed now; try again"
        raise Problem("unavailable", f"job {job.id}: {reason}") from error
    if not removed and services.store.get(job.id) is not None:
        raise Problem("job-not-finished", f"job {job.id} was retried meanwhile")
