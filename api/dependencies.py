"""What routes ask FastAPI for: the services, and a job that the caller may see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Path, Request

from api.auth import Caller
from api.http.problems import Problem
from api.schemas.examples import JOB_ID
from api.services import Services
from jobs.store.records import Job, StatusRow

T = TypeVar("T")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def counted_stream(services: ServicesDep, caller: Caller) -> AsyncIterator[None]:
    """Count a stream of events until it ends; 429 or 503 if it is one too many."""
    with services.streams.counted(caller.owner):
        yield


async def counted_download(services: ServicesDep, caller: Caller) -> AsyncIterator[None]:
    """Count a download until its last byte is sent; 429 or 503 if it is one too many."""
    with services.downloads.counted(caller.owner):
        yield


JobId = Annotated[str, Path(description="The job's id.", examples=[JOB_ID])]


def _found(look: Callable[[str, str | None], T | None], caller: Caller, job_id: str) -> T:
    # Another owner's job is not found, like one that never was.
    # An id that no job can have never reaches the database, which might choke on it.
    well_formed = job_id.isascii() and job_id.replace("_", "").isalnum() and len(job_id) <= 40
    found = look(job_id, caller.scope) if well_formed else None
    if found is None:
        raise Problem("job-not-found", f"there is no job {job_id[:64]!r}")
    return found


def _job(services: ServicesDep, caller: Caller, job_id: JobId) -> Job:
    return _found(services.store.get, caller, job_id)


def _status_row(services: ServicesDep, caller: Caller, job_id: JobId) -> StatusRow:
    return _found(services.store.status_row, caller, job_id)


FoundJob = Annotated[Job, Depends(_job)]
FoundStatus = Annotated[StatusRow, Depends(_status_row)]
"""Of a job only what is polled: a row of it can be large."""
