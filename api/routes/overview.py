"""`GET /overview`: the caller, and job counts by status, for the dashboard."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.auth import Caller
from api.dependencies import ServicesDep
from api.openapi import problems
from jobs.store.lists.counts import count_jobs

router = APIRouter(tags=["service"])


class Overview(BaseModel):
    """The caller, and the number of jobs that they see."""

    owner: str = Field(description="Owner of the key; `local` if no key is required.")
    admin: bool = Field(description="Whether the caller sees the jobs of all owners.")
    jobs: dict[str, int] = Field(
        description="Number of jobs by status.",
        examples=[{"queued": 2, "running": 1, "succeeded": 40, "failed": 3, "cancelled": 0}],
    )


@router.get("/overview", responses=problems(503))
def get_overview(services: ServicesDep, caller: Caller) -> Overview:
    """Get the owner of the key, and the number of jobs by status."""
    counted = count_jobs(services.engine, caller.scope)
    return Overview(owner=caller.owner, admin=caller.admin, jobs=counted)
