"""`/calibration-sets`: uploads, lists and deletes texts that jobs name as `upload:ID`."""

from __future__ import annotations

from datetime import datetime
from typing import IO, Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from api.auth import Caller
from api.checks.disk import require_free_disk
from api.dependencies import ServicesDep, counted_download
from api.http.conditional import not_modified
from api.http.paging import Cursor, Limit
from api.http.problems import Problem
from api.http.streaming import chunks
from api.http.threads import in_storage_thread
from api.openapi import problems
from api.schemas.examples import JSON_LINES, SET_ID
from api.schemas.paths import VERSION
from api.services import Services
from api.uploads.receive import MEDIA_TYPES, Declared, receive
from jobs.files.calibration_sets import CalibrationSet, Format, discard
from jobs.store.keys import OWNER
from slimgpt.spec.prune import UPLOAD

NAME = r"^[^\x00-\x1f\x7f]*$"


SENT: dict[Format, str] = {"jsonl": "application/x-ndjson", "csv": "text/csv", "text": "text/plain"}
EXAMPLES: dict[Format, str] = {
    "jsonl": JSON_LINES,
    "csv": "id,text\n1,Once upon a time.\n",
    "text": "Once upon a time.",
}


def _body(form: Format) -> dict[str, Any]:
    return {"schema": {"type": "string", "format": "binary"}, "example": EXAMPLES[form]}


BODY = {
    "required": True,
    "description": "The text itself in UTF-8, not a form: JSON lines, CSV or TSV with the fields "
    "that calibration supports, or plain text.",
    "content": {kind: _body(form) for kind, form in MEDIA_TYPES.items()},
}
router = APIRouter(prefix="/calibration-sets", tags=["calibration sets"])
log = structlog.get_logger(__name__)


class SetLinks(BaseModel):
    """URLs of the set."""

    self: str
    content: str


class CalibrationSetView(BaseModel):
    """An uploaded text. `size` is in bytes, times are in UTC."""

    id: str = Field(examples=[SET_ID])
    owner: str = Field(description="Owner of the API key that uploaded it.", examples=["ada"])
    name: str = Field(examples=["support tickets"])
    source: str = Field(
        description="Its name in a job's `calibration.source` and `evaluation.texts`.",
        examples=[f"upload:{SET_ID}"],
    )
    format: Format
    documents: int = Field(description="Number of documents with text.", examples=[1200])
    size: int
    sha256: str
    created_at: datetime
    links: SetLinks

    @classmethod
    def of(cls, found: CalibrationSet) -> CalibrationSetView:
        """The view of a set of the store."""
        here = f"{VERSION}/calibration-sets/{found.id}"
        links = SetLinks(self=here, content=f"{here}/content")
        names = [name for name in cls.model_fields if name not in ("source", "links")]
        given = {name: getattr(found, name) for name in names}
        return cls(**given, source=f"upload:{found.id}", links=links)


class CalibrationSetPage(BaseModel):
    """A page of sets, newest first; the next page has `cursor=next_cursor`, unless it is null."""

    items: list[CalibrationSetView]
    next_cursor: str | None


def _found(
    services: ServicesDep,
    caller: Caller,
    set_id: Annotated[str, Path(description="The set's id.", examples=[SET_ID])],
) -> CalibrationSet:
    # Another owner's set is not found, like an unknown one.
    well_formed = UPLOAD.fullmatch(f"upload:{set_id}") is not None
    found = services.calibration_sets.get(set_id, caller.scope) if well_formed else None
    if found is None:
        raise _not_found(set_id)
    return found


FoundSet = Annotated[CalibrationSet, Depends(_found)]


def _not_found(set_id: str) -> Problem:
    return Problem("calibration-set-not-found", f"there is no calibration set {set_id[:64]!r}")


@router.post(
    "",
    status_code=201,
    dependencies=[Depends(require_free_disk)],
    openapi_extra={"requestBody": BODY},
    responses={
        200: {"model": CalibrationSetView, "description": "The same text is already stored."},
        **problems(400, 408, 409, 413, 415, 422, 429, 503),
    },
)
async def upload_calibration_set(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: Caller,
    form: Declared,
    name: Annotated[
        str, Query(max_length=128, pattern=NAME, description="Name shown in lists.")
    ] = "",
    text_field: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=128,
            pattern=NAME,
            description="Field that holds the text, if it is not detected automatically. Jobs need "
            "it again, in `calibration.text_field`.",
        ),
    ] = None,
) -> CalibrationSetView:
    """Upload a text: `curl --data-binary @notes.jsonl -H 'Content-Type: application/x-ndjson'`.

    It is validated line by line during the upload. The same text uploaded again is the same set.
    """
    kept, new = await receive(request, services, caller.owner, name, (form, text_field))
    if not new:
        response.status_code = 200
    response.headers["Location"] = f"{VERSION}/calibration-sets/{kept.id}"
    return CalibrationSetView.of(kept)


@router.get("", responses=problems(422, 503))
def list_calibration_sets(
    services: ServicesDep,
    caller: Caller,
    owner: Annotated[
        str | None,
        Query(
            pattern=OWNER, description="Only this owner's sets; only admins see those of others."
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CalibrationSetPage:
    """List calibration sets, newest first: the caller's own; for an admin, those of all owners."""
    if owner is not None and not caller.sees(owner):
        return CalibrationSetPage(items=[], next_cursor=None)
    page = services.calibration_sets.list(owner=owner or caller.scope, limit=limit, cursor=cursor)
    items = [CalibrationSetView.of(found) for found in page.items]
    return CalibrationSetPage(items=items, next_cursor=page.next_cursor)


@router.get("/{set_id}", responses=problems(404, 503))
def get_calibration_set(found: FoundSet) -> CalibrationSetView:
    """Get a calibration set; its text is at `content`."""
    return CalibrationSetView.of(found)


@router.get(
    "/{set_id}/content",
    response_class=Response,
    responses={
        200: {"content": BODY["content"], "description": "The text, as it was uploaded."},
        304: {"description": "The client already has the text."},
        **problems(404, 429, 503),
    },
    dependencies=[Depends(counted_download)],
)
async def get_calibration_text(
    found: FoundSet,
    services: ServicesDep,
    if_none_match: Annotated[
        str | None, Header(description="ETag of the text that the client has.")
    ] = None,
) -> Response:
    """Download the text, unchanged. Its ETag is its sha256."""
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{found.file}"',
        "ETag": f'"{found.sha256}"',
    }
    if not_modified(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(found.size)
    file = await in_storage_thread(_open, found, services)
    return StreamingResponse(chunks(file, 0, found.size), 200, headers, SENT[found.format])


def _open(found: CalibrationSet, services: Services) -> IO[bytes]:
    try:
        return services.artifacts.open(found.prefix, found.file)
    except FileNotFoundError as error:
        detail = f"the text of {found.id} is no longer stored"
        raise Problem("calibration-set-not-found", detail) from error
    except OSError as error:
        log.warning("a text cannot be read", set=found.id, reason=str(error))
        raise Problem("unavailable", "the text cannot be read now; try again") from error


@router.delete("/{set_id}", status_code=204, responses=problems(404, 409, 503))
async def delete_calibration_set(found: FoundSet, services: ServicesDep) -> None:
    """Delete a set and its text, unless an unfinished job uses it. A second request gets 404."""
    await in_storage_thread(_remove, found, services)


def _remove(found: CalibrationSet, services: Services) -> None:
    sets = services.calibration_sets
    if not sets.withdraw(found.id):
        if sets.get(found.id) is None:
            raise _not_found(found.id)
        detail = f"an unfinished job uses upload:{found.id}"
        raise Problem("calibration-set-in-use", detail)
    try:
        discard(found.id, sets, services.artifacts)
    except OSError as error:  # the set is hidden already, and the sweep removes the file later
        log.warning("a text is removed later", set=found.id, reason=str(error))
