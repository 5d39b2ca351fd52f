"""`GET /models` and `GET /texts`: what can be named as `local:NAME` in a job.

Every caller may use all of them in a job, so every caller may list them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from api.auth import Caller
from api.checks import listing
from api.checks.sources import LOCAL
from api.dependencies import ServicesDep
from api.http.concurrency_limit import ConcurrencyLimit
from api.http.paging import Limit
from api.inventory.models import ModelDescriptions
from api.openapi import problems
from jobs.cursors import make_cursor, read_cursor
from slimgpt.planning.document import FoundModel

T = TypeVar("T")
router = APIRouter(tags=["sources"])
_limit = ConcurrencyLimit("lists of models", 6, 3, "too-many-plans")
"""Requests that wait for an engine to read headers must not hold all threads of the API."""
PathCursor = Annotated[
    str | None, Query(max_length=1400, description="`next_cursor` of the previous page.")
]
"""Longer than that of other lists: it holds a path."""


def _descriptions(request: Request) -> ModelDescriptions:
    found: ModelDescriptions = request.app.state.models
    return found


Descriptions = Annotated[ModelDescriptions, Depends(_descriptions)]


class ModelPage(BaseModel):
    """A page of models by name; the next page has `cursor=next_cursor`, unless it is null."""

    items: list[FoundModel]
    next_cursor: str | None
    complete: bool = Field(
        description="false: there are too many files below the root; some models are not listed."
    )


class TextView(BaseModel):
    """A text file below the texts root. Its format is detected by content when a job reads it."""

    source: str = Field(
        description="Its name in `calibration.source` and `evaluation.texts`.",
        examples=["local:notes.jsonl"],
    )
    bytes: int


class TextPage(BaseModel):
    """A page of texts by name; the next page has `cursor=next_cursor`, unless it is null."""

    items: list[TextView]
    next_cursor: str | None
    complete: bool = Field(
        description="false: there are too many files below the root; some texts are not listed."
    )


@router.get("/models", responses=problems(422, 429, 503))
def list_models(
    services: ServicesDep,
    caller: Caller,
    descriptions: Descriptions,
    limit: Limit = 50,
    cursor: PathCursor = None,
) -> ModelPage:
    """List the models below the models root: family, sizes, and whether they can be pruned.

    Headers are read, weights are not. Empty where the root is not on the API's machine.
    """
    found = listing.models(services.settings.models_root)
    names, following = _page(found.models, found.models, limit, cursor)
    with _limit.held(caller.owner, alone=services.keys is None):
        items = descriptions.of(names)
    return ModelPage(items=items, next_cursor=following, complete=found.complete)


@router.get("/texts", responses=problems(422, 503))
def list_texts(services: ServicesDep, limit: Limit = 50, cursor: PathCursor = None) -> TextPage:
    """List the text files below the texts root. Uploaded texts are at `/calibration-sets`."""
    found = listing.texts(services.settings.texts_root)
    texts, following = _page(found.texts, [text.name for text in found.texts], limit, cursor)
    items = [TextView(source=LOCAL + text.name, bytes=text.bytes) for text in texts]
    return TextPage(items=items, next_cursor=following, complete=found.complete)


def _page(
    items: Sequence[T], names: Sequence[str], limit: int, cursor: str | None
) -> tuple[Sequence[T], str | None]:
    """The items after the one that the cursor names, and the cursor of the next page.

    Args:
        names: of the items, in order.
    """
    after = read_cursor(cursor, LOCAL).removeprefix(LOCAL) if cursor else ""
    first = bisect_right(names, after)
    page = items[first : first + limit]
    more = first + limit < len(items)
    return page, make_cursor(LOCAL + names[first + limit - 1]) if more else None
