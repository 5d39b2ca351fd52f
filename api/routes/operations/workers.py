"""`GET /workers`: which workers are alive, on which device, with which job, when last heard."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import Caller, Identity
from api.dependencies import ServicesDep
from api.http.problems import Problem
from api.openapi import problems
from api.schemas.examples import JOB_ID
from api.services import Services
from jobs.messages.circuit_breaker import ServerUnavailable
from jobs.messages.workers import WorkerEntry, known_workers
from jobs.states import HELD
from jobs.store.store import MAX_PAGE

router = APIRouter(tags=["service"])


class WorkerView(BaseModel):
    """A worker. Its machine is shown to admins only, its job to those who see the job."""

    id: str = Field(description="Of this start of the worker.", examples=["5f1d0c9a2b7e"])
    status: Literal["idle", "busy", "silent"] = Field(
        description="idle: waits for a job. busy: has one. silent: not heard for a minute."
    )
    device: str = Field(examples=["NVIDIA H200, 140 GiB"])
    job: str | None = Field(description="The job that it holds, if you see it.", examples=[JOB_ID])
    silent_seconds: float = Field(description="Since it was last heard.", examples=[1.2])
    started_at: datetime
    version: str
    host: str | None = Field(description="Its machine; null unless you are an admin.")
    pid: int | None = Field(description="Its process there; null unless you are an admin.")

    @classmethod
    def of(cls, entry: WorkerEntry, caller: Identity, visible: set[str]) -> WorkerView:
        """The view of a worker for a caller who sees some jobs."""
        facts = entry.facts
        seen = facts.job if caller.admin or facts.job in visible else None
        now: Literal["idle", "busy"] = "busy" if facts.job else "idle"
        return cls(
            id=hashlib.sha256(facts.id.encode()).hexdigest()[:12],
            status=now if entry.alive else "silent",
            device=facts.device,
            job=seen,
            silent_seconds=round(entry.silent_seconds, 1),
            started_at=datetime.fromtimestamp(facts.started_at, UTC),
            version=facts.version,
            host=facts.host if caller.admin else None,
            pid=facts.pid if caller.admin else None,
        )


class WorkerList(BaseModel):
    """The workers of the last day, those heard last first; at most 200."""

    items: list[WorkerView] = Field(max_length=MAX_PAGE)
    next_cursor: None = None


@router.get("/workers", responses=problems(503))
def list_workers(services: ServicesDep, caller: Caller) -> WorkerList:
    """List the workers that were heard in the last day."""
    entries = _known(services)[:MAX_PAGE]
    visible: set[str] = set()
    if not caller.admin:
        held = services.store.list(owner=caller.owner, status=HELD, limit=MAX_PAGE)
        visible = {job.id for job in held.items}
    return WorkerList(items=[WorkerView.of(entry, caller, visible) for entry in entries])


def _known(services: Services) -> list[WorkerEntry]:
    try:
        with services.guard.asking():
            return known_workers(services.progress.redis)
    except ServerUnavailable as error:
        detail = "the list of workers is in Redis, which does not answer; try again"
        raise Problem("unavailable", detail) from error
