"""`GET /jobs/{id}/usage`: snippets that load, serve and fetch a finished job's files."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from api.dependencies import FoundJob, ServicesDep
from api.http.threads import in_storage_thread
from api.inventory.usage import Published, Snippet, snippets
from api.openapi import problems
from api.routes.artifacts import list_files

router = APIRouter(prefix="/jobs", tags=["artifacts"])


class SnippetList(BaseModel):
    """Snippets for the files of a job: `curl` first, then each format's loaders."""

    items: list[Snippet]
    next_cursor: None = None


@router.get("/{job_id}/usage", responses=problems(404, 409, 410, 503))
async def get_usage(job: FoundJob, services: ServicesDep, request: Request) -> SnippetList:
    """Get code that uses the job's files: transformers, vLLM, llama.cpp, curl for each file."""
    files = await in_storage_thread(list_files, services.artifacts, job)
    published = Published(
        job_id=job.id,
        paths=[file.path for file in files],
        url=str(request.base_url).rstrip("/"),
        with_key=services.keys is not None,
        proofs=_proofs(job.result or {}),
    )
    return SnippetList(items=snippets(published))


def _proofs(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The proofs of load by model folder: of a sweep its points' folders, else the empty one."""
    points = result.get("points") or [{"folder": ""}]
    verified = [proof for proof in result.get("verified") or [] if isinstance(proof, dict)]
    return {
        str(point.get("folder", "")): [one for one in verified if one.get("point", 0) == number]
        for number, point in enumerate(points)
    }
