"""FastAPI dependencies: services, and a job visible to the caller."""

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
    """Count an event stream until it ends; 429 or 503 above the limits."""
    with services.streams.held(caller.owner):
        yield


async def counted_download(services: ServicesDep, caller: Caller) -> AsyncIterator[None]:
    """Count a download until its last byte is sent; 429 or 503 above the limits."""
    with services.downloads.held(caller.owner):
        yield


JobId = Annotated[str, Path(description="The job's id.", examples=[JOB_ID])]


def is_id(text: str) -> bool:
    """Whether the text can be an id; other texts are not passed to the database."""
    return text.isascii() and text.replace("_", "").isalnum() and len(text) <= 40


def _found(look: Callable[[str, str | None], T | None], caller: Caller, job_id: str) -> T:
    # Another owner's job is not found, like an unknown one.
    found = look(job_id, caller.scope) if is_id(job_id) else None
    if found is None:
        raise Problem("job-not-found", f"there is no job {job_id[:64]!r}")
    return found


def _job(services: ServicesDep, caller: Caller, job_id: JobId) -> Job:
    return _found(services.store.get, caller, job_id)


def _status_row(services: ServicesDep, caller: Caller, job_id: JobId) -> StatusRow:
    return _found(services.store.status_row, caller, job_id)


FoundJob = Annotated[Job, Depends(_job)]
FoundStatus = Annotated[StatusRow, Depends(_status_row)]
"""Only the columns of a job's status: the whole row can be large."""
