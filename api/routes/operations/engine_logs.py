"""`GET /jobs/{id}/log`: the last lines of a job's failed engine, and its memory at the end."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import FoundStatus, ServicesDep
from api.openapi import problems
from jobs.store.engine_logs import EngineLogs

router = APIRouter(prefix="/jobs", tags=["jobs"])


class EngineLogView(BaseModel):
    """How the job's last failed engine ended; all null, and no lines, if none has failed.

    Memory is in bytes.
    """

    model_config = ConfigDict(from_attributes=True)

    attempt: int | None = Field(None, description="The attempt that failed.", examples=[1])
    ended_at: datetime | None = None
    where: str | None = Field(
        None,
        description="What the engine was doing.",
        examples=["stage prune, after layer 3 of 32"],
    )
    exit_status: int | None = Field(
        None, description="Of the engine's process; negative for a signal.", examples=[-9]
    )
    memory_bytes: int | None = Field(
        None, description="Resident memory of its processes a second or less before the end."
    )
    peak_bytes: int | None = Field(None, description="Peak resident memory of the engine.")
    available_bytes: int | None = Field(
        None, description="What the worker's machine had left then."
    )
    lines: list[str] = Field(
        default=[],
        max_length=100,
        description="The last lines of its standard error, without secrets and paths of the "
        "machine.",
    )


@router.get("/{job_id}/log", responses=problems(404, 503))
def get_engine_log(job: FoundStatus, services: ServicesDep) -> EngineLogView:
    """Get the last lines of the job's last failed engine, and its memory at the end."""
    end = EngineLogs(services.engine).get(job.id)
    return EngineLogView() if end is None else EngineLogView.model_validate(end)
