"""`/jobs`: create, list, show and cancel jobs; status, layers and report."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Request, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.auth import Caller
from api.checks.devices import too_many_devices
from api.checks.disk import require_free_disk
from api.checks.plan_check import require_plannable
from api.checks.positions import too_long
from api.checks.sources import missing_sources, missing_uploads
from api.checks.text_sizes import too_little_text
from api.dependencies import FoundJob, FoundStatus, ServicesDep
from api.http.conditional import not_modified
from api.http.job_filters import Filtered, SortedPage
from api.http.problems import Problem
from api.http.threads import in_broker_thread
from api.http.validation import summary
from api.openapi import problems
from api.schemas.examples import REPORT, answers
from api.schemas.job_status import status_now
from api.schemas.jobs import JobPage, JobRequest, JobSummaryView, JobView, LayerList, StatusView
from api.schemas.paths import VERSION
from api.services import Services
from jobs.messages.queue import QueueUnavailable
from jobs.states import Status
from jobs.store.keys import OWNER
from jobs.store.lists.counts import queue_position
from jobs.store.lists.quotas import QuotaReached
from jobs.store.records import Job
from jobs.store.store import IdempotencyConflict

POLL_SECONDS = 2
QUOTA_SECONDS = 60
router = APIRouter(prefix="/jobs", tags=["jobs"])
log = structlog.get_logger(__name__)


def declared_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON: browsers can send others across origins."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        said = f"is {media_type!r}" if media_type else "is missing"
        raise Problem("not-json", f"the header Content-Type {said}; send application/json")


@router.post(
    "",
    status_code=202,
    dependencies=[Depends(declared_json), Depends(require_free_disk)],
    responses=problems(400, 413, 415, 422, 429, 503),
)
def post_job(
    body: JobRequest,
    services: ServicesDep,
    caller: Caller,
    response: Response,
    later: BackgroundTasks,
    idempotency_key: Annotated[
        str | None,
        Header(
            pattern=r"^[!-~]{1,255}$",
            description="Any unique text. Posting the same job again with it returns the same job.",
        ),
    ] = None,
) -> JobView:
    """Queue a pruning job.

    The job is stored before the response, and will run even if the queue is unavailable now.
    """
    spec = body.spec()
    settings = services.settings
    faults = missing_sources(spec, settings.models_root, settings.texts_root)
    faults += too_long(spec, settings.models_root)
    faults += too_many_devices(spec, settings.max_devices)
    faults += missing_uploads(spec, services.calibration_sets, caller.scope)
    faults = faults or too_little_text(spec, settings.texts_root, services.calibration_sets)
    # An existing job is returned even if its model has been removed since.
    if not (idempotency_key and services.store.knows_key(caller.owner, idempotency_key)):
        if faults:
            raise Problem("invalid-request", summary(faults), errors=faults)
        require_plannable(spec, settings, caller.owner)
    try:
        job = services.store.create(
            spec,
            name=body.name,
            metadata=body.metadata,
            owner=caller.owner,
            idempotency_key=idempotency_key,
            max_active=settings.max_active_jobs,
        )
    except QuotaReached as error:
        raise too_many_jobs(error) from error
    except IdempotencyConflict as error:
        raise Problem("idempotency-conflict", str(error)) from error
    if job.status == Status.QUEUED and job.dispatched_at is None:
        later.add_task(dispatch, services, job)
    response.headers["Location"] = f"{VERSION}/jobs/{job.id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return JobView.of(job)


def too_many_jobs(error: QuotaReached) -> Problem:
    """The problem for an owner with too many unfinished jobs."""
    return Problem("too-many-jobs", str(error), headers={"Retry-After": str(QUOTA_SECONDS)})


async def dispatch(services: Services, job: Job) -> None:
    """Send the job's message. If that fails, the reaper sends it: the row is the outbox."""
    services.progress.keep_request(job.id)
    await in_broker_thread(_publish, services, job)


def _publish(services: Services, job: Job) -> None:
    try:
        services.queue.publish(job.id)
        services.store.dispatched(job.id)
    except (QueueUnavailable, SQLAlchemyError) as error:
        log.warning("job not dispatched yet", job=job.id, reason=str(error))


@router.get("", responses=problems(422, 503))
def list_jobs(
    services: ServicesDep,
    caller: Caller,
    owner: Annotated[
        str | None,
        Query(
            pattern=OWNER, description="Only this owner's jobs; only admins see those of others."
        ),
    ] = None,
    status: Annotated[
        list[Status] | None, Query(description="Only jobs with this status; may be repeated.")
    ] = None,
    *,
    where: Filtered,
    page: SortedPage,
) -> JobPage:
    """List jobs, by default newest first: the caller's own; for an admin, those of all owners.

    Items are summaries; the job itself has the whole specification, warnings and result.
    """
    if owner is not None and not caller.sees(owner):
        return JobPage(items=[], next_cursor=None)
    found = services.store.list(
        owner=owner or caller.scope, status=status or None, where=where, **page._asdict()
    )
    items = [JobSummaryView.of(job) for job in found.items]
    return JobPage(items=items, next_cursor=found.next_cursor)


@router.get("/{job_id}", responses=problems(404, 503))
def get_job(job: FoundJob) -> JobView:
    """Get a job, without its layers, report and files."""
    return JobView.of(job)


@router.get(
    "/{job_id}/status",
    response_model=StatusView,
    response_model_exclude_none=False,
    responses={304: {"description": "Unchanged since the given ETag."}, **problems(404, 503)},
)
async def get_job_status(
    job: FoundStatus,
    services: ServicesDep,
    if_none_match: Annotated[
        str | None, Header(description="ETag of the response that the client has.")
    ] = None,
) -> Response:
    """Get a job's status and progress: small, and cheap to poll."""
    now = await status_now(job, services.reader)
    if job.status == Status.QUEUED:
        place = await run_in_threadpool(queue_position, services.engine, job.id)
        now = now.model_copy(update={"queue_position": place})
    body = now.model_dump_json()
    etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if not job.terminal:
        headers["Retry-After"] = str(POLL_SECONDS)
    if not_modified(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get("/{job_id}/layers", responses=problems(404, 503))
def get_job_layers(job: FoundJob, services: ServicesDep) -> LayerList:
    """List the finished layers: what was kept, and the errors."""
    return LayerList(items=services.store.layers(job.id))


@router.get("/{job_id}/report", responses={**answers(REPORT), **problems(404, 409, 503)})
def get_job_report(job: FoundJob, services: ServicesDep) -> dict[str, Any]:
    """Get the report of a succeeded job: sizes, layers, perplexity, provenance."""
    report = services.store.report(job.id)
    if report is None:
        raise no_result(job)
    return report


@router.post("/{job_id}/cancel", status_code=202, responses=problems(404, 409, 503))
def cancel_job(job: FoundJob, services: ServicesDep) -> JobView:
    """Cancel a job. A running one is `cancelling` until its worker has stopped the engine."""
    now = services.store.request_cancel(job.id)
    if now is None:
        raise Problem("job-not-found", f"there is no job {job.id!r}")
    if now.terminal and now.status != Status.CANCELLED:
        raise Problem("job-finished", f"job {job.id} has finished: it is {now.status}")
    return JobView.of(now)


def no_result(job: Job) -> Problem:
    """The problem for a job without report and files."""
    if job.terminal:
        return Problem("job-without-result", f"job {job.id} {_ending(job)}")
    headers = {"Retry-After": str(POLL_SECONDS)}
    return Problem("job-not-finished", f"job {job.id} is {job.status}", headers=headers)


def _ending(job: Job) -> str:
    if job.status == Status.FAILED and job.error:
        return f"failed: {job.error.get('message', 'no reason was recorded')}"
    return f"{job.status}, and has no result"
