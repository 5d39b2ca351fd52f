"""`/jobs/{id}/artifacts`: lists, streams or redirects to a succeeded job's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import IO, Annotated
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as FilePath
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from api.dependencies import FoundJob, ServicesDep, counted_download
from api.http.conditional import not_modified
from api.http.problems import Problem
from api.http.ranges import RangeError, parse
from api.http.streaming import chunks
from api.http.threads import in_storage_thread
from api.openapi import problems
from api.routes.jobs import no_result
from api.schemas.jobs import ArtifactList
from jobs.files.artifacts import Artifact, Artifacts
from jobs.files.presigned_links import Links
from jobs.store.records import Job

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/jobs/{job_id}/artifacts", tags=["artifacts"])


class RangeHeaders(BaseModel):
    """Headers of range and conditional requests."""

    range: str | None = Field(None, description="One byte range: `bytes=FIRST-LAST`.")
    if_range: str | None = None
    if_none_match: str | None = None


def _links(
    services: ServicesDep,
    redirect: Annotated[
        bool,
        Query(description="`false`: no redirect, for pages that must not load from other hosts."),
    ] = True,
) -> Links | None:
    return services.links if redirect else None


Linked = Annotated[Links | None, Depends(_links)]


def _prefix(job: Job) -> str:
    if job.artifacts_prefix is None:
        raise no_result(job)
    if job.artifacts_removed_at is not None:
        since = f"{job.artifacts_removed_at:%Y-%m-%d %H:%M} UTC"
        raise Problem("artifacts-expired", f"the files of job {job.id} were removed on {since}")
    return job.artifacts_prefix


@router.get("", responses=problems(404, 409, 410, 503))
async def list_artifacts(job: FoundJob, services: ServicesDep) -> ArtifactList:
    """List the files of a succeeded job, each with size in bytes and sha256."""
    return ArtifactList(items=await in_storage_thread(list_files, services.artifacts, job))


def list_files(artifacts: Artifacts, job: Job) -> list[Artifact]:
    """The files of a succeeded job.

    Raises:
        Problem: 409, 410 or 404, it has none, or no longer.
    """
    try:
        with _stored():
            return artifacts.list(_prefix(job))
    except FileNotFoundError as error:
        detail = f"the files of job {job.id} were published, but are no longer stored"
        raise Problem("artifact-not-found", detail) from error


@router.head("/{path:path}", include_in_schema=False, dependencies=[Depends(counted_download)])
@router.get(
    "/{path:path}",
    response_class=Response,
    responses={
        200: {"content": {"*/*": {}}, "description": "The file; the media type follows its name."},
        206: {"content": {"*/*": {}}, "description": "A range of the file."},
        304: {"description": "The client already has the file."},
        307: {"description": "A link to the object store, valid for five minutes; send no key."},
        **problems(404, 409, 410, 416, 429, 503),
    },
    dependencies=[Depends(counted_download)],
)
async def download_artifact(
    job: FoundJob,
    path: Annotated[str, FilePath(description="As in the list.", examples=["config.json"])],
    services: ServicesDep,
    links: Linked,
    request: Request,
    conditions: Annotated[RangeHeaders, Header()],
) -> Response:
    """Download a file or a range of it. Its ETag is its sha256.

    The service may redirect to its object store, which sends its own ETag.
    """
    prefix = _prefix(job)
    artifact = await in_storage_thread(_find, services.artifacts, prefix, path)
    headers = _headers(artifact)
    if not_modified(conditions.if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if links is not None:
        at = f"{prefix}/{artifact.path}"
        return await in_storage_thread(_redirect, links, request.method, at, headers)
    wanted = conditions.range if conditions.if_range in (None, headers["ETag"]) else None
    part = _part(wanted, artifact)
    start, stop = part or (0, artifact.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size}"
    headers["Content-Length"] = str(stop - start)
    status = 206 if part else 200
    media_type = headers.pop("Content-Type")
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    file = await in_storage_thread(_open, services.artifacts, prefix, path)
    return StreamingResponse(
        chunks(file, start, stop), status, headers=headers, media_type=media_type
    )


def _redirect(links: Links, method: str, path: str, headers: dict[str, str]) -> Response:
    with _stored():
        address = links.sign(path, "HEAD" if method == "HEAD" else "GET", headers)
    # A cached response would grant access to the file.
    return Response(status_code=307, headers={"Location": address, "Cache-Control": "no-store"})


@contextmanager
def _stored() -> Iterator[None]:
    """Convert errors of the artifact store to a problem."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        log.warning("artifacts cannot be read", error=str(error))
        detail = "the artifact store does not answer; try again"
        raise Problem("unavailable", detail, headers={"Retry-After": "5"}) from error


def _find(artifacts: Artifacts, prefix: str, path: str) -> Artifact:
    try:
        with _stored():
            return artifacts.stat(prefix, path)
    except FileNotFoundError as error:
        raise Problem("artifact-not-found", f"the job has no file {path[:256]!r}") from error


def _open(artifacts: Artifacts, prefix: str, path: str) -> IO[bytes]:
    try:
        with _stored():
            return artifacts.open(prefix, path)
    except FileNotFoundError as error:  # listed in the manifest, yet removed by someone
        detail = f"the file {path[:256]!r} was published, but is no longer stored"
        raise Problem("artifact-not-found", detail) from error


def _part(header: str | None, artifact: Artifact) -> tuple[int, int] | None:
    try:
        return parse(header, artifact.size)
    except RangeError as error:
        raise Problem(
            "range-not-satisfiable",
            f"{artifact.path} has {artifact.size} bytes",
            headers={"Content-Range": f"bytes */{artifact.size}"},
        ) from error


def _headers(artifact: Artifact) -> dict[str, str]:
    name = quote(PurePosixPath(artifact.path).name, safe="")
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=utf-8''{name}",
        "Content-Type": guess_type(artifact.path)[0] or "application/octet-stream",
        "ETag": f'"{artifact.sha256}"',
    }
