"""`/jobs/{id}/artifacts`: the files of a succeeded job, listed and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import IO, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import StreamingResponse

from api.byte_range import RangeError, parse
from api.jobs import no_result
from api.openapi import problems
from api.problems import Problem
from api.schemas import ArtifactList
from api.services import FoundJob, Wired
from jobs.artifacts import Artifact, Artifacts
from jobs.job import Job

CHUNK_BYTES = 1 << 20
router = APIRouter(prefix="/jobs/{job_id}/artifacts", tags=["artifacts"])


def _prefix(job: Job) -> str:
    if job.artifacts_prefix is None:
        raise no_result(job)
    return job.artifacts_prefix


@router.get("", responses=problems(404, 409, 503))
def list_artifacts(job: FoundJob, services: Wired) -> ArtifactList:
    """The files of a succeeded job, each with size in bytes and sha256."""
    try:
        return ArtifactList(items=services.artifacts.list(_prefix(job)))
    except FileNotFoundError as error:
        detail = f"the files of job {job.id} were published, but are no longer stored"
        raise Problem("artifact-not-found", detail) from error


@router.head("/{path:path}", include_in_schema=False)
@router.get(
    "/{path:path}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The file."},
        206: {"content": {"application/octet-stream": {}}, "description": "A part of it."},
        304: {"description": "The client has the file already."},
        **problems(404, 409, 416, 503),
    },
)
def get_artifact(
    job: FoundJob,
    path: str,
    services: Wired,
    request: Request,
    range_header: Annotated[
        str | None, Header(alias="Range", description="One byte range: `bytes=FIRST-LAST`.")
    ] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A file, whole or a range of it. Its ETag is its sha256."""
    prefix = _prefix(job)
    artifact = _find(services.artifacts, prefix, path)
    headers = _headers(artifact)
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    wanted = range_header if if_range in (None, headers["ETag"]) else None
    part = _part(wanted, artifact)
    start, stop = part or (0, artifact.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size}"
    headers["Content-Length"] = str(stop - start)
    status = 206 if part else 200
    media_type = headers.pop("Content-Type")
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    file = _open(services.artifacts, prefix, path)
    return StreamingResponse(
        _chunks(file, start, stop), status, headers=headers, media_type=media_type
    )


def _find(artifacts: Artifacts, prefix: str, path: str) -> Artifact:
    try:
        return artifacts.stat(prefix, path)
    except FileNotFoundError as error:
        raise Problem("artifact-not-found", f"the job has no file {path[:256]!r}") from error


def _open(artifacts: Artifacts, prefix: str, path: str) -> IO[bytes]:
    try:
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


def _chunks(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    """Bytes start to stop of the file, a chunk at a time; closes it."""
    with file:
        file.seek(start)
        left = stop - start
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
