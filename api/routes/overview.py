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
    """The caller, and the jobs that they see."""

    owner: str = Field(description="Owner of the key; `local` where none is asked for.")
    admin: bool = Field(description="Whether everybody's jobs show.")
    jobs: dict[str, int] = Field(
        description="How many jobs are in each status.",
        examples=[{"queued": 2, "running": 1, "succeeded": 40, "failed": 3, "cancelled": 0}],
    )


@router.get("/overview", responses=problems(503))
def get_overview(services: ServicesDep, caller: Caller) -> Overview:
    """Whose key this is, and how many jobs are in each status."""
    counted = count_jobs(services.engine, caller.scope)
    return Overview(owner=caller.owner, admin=caller.admin, jobs=counted)
