"""Query parameters of job lists, parsed to a `jobs.store.lists.filters.Filter` and an `Order`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

from api.http.paging import Limit
from jobs.store.lists.filters import Filter
from jobs.store.lists.order import Order


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999 in UTC") from error


def _written(value: object) -> object:
    # pydantic would read a number as seconds since 1970, which is not documented.
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("give a date and a time, such as 2026-11-22T09:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_utc)]
MAX_CURSOR = 2048
"""Characters; a cursor has the name after which the page begins."""
# No database keeps NUL in a text, so no job has it.
Label = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}=[^\x00]{0,512}$")
]


def _filter(
    model: Annotated[
        str | None,
        Query(
            max_length=256,
            pattern=r"^[^\x00]+$",
            description="Only jobs for this model, named as in the request.",
            examples=["local:model"],
        ),
    ] = None,
    created_after: Annotated[
        Time | None,
        Query(description="Only jobs posted at this time or later, with a time zone."),
    ] = None,
    created_before: Annotated[
        Time | None, Query(description="Only jobs posted earlier, with a time zone.")
    ] = None,
    metadata: Annotated[
        list[Label] | None,
        Query(
            max_length=8,
            description="Only jobs with this label, KEY=VALUE; repeated: with all of them.",
            examples=[["team=search"]],
        ),
    ] = None,
    search: Annotated[
        str,
        Query(
            max_length=256,
            pattern=r"^[^\x00]*$",
            description="Only jobs with each of these words in their name, model or a label "
            "(`KEY=VALUE`) or, from four characters on, their id. Parts of words count; upper and "
            "lower case are the same.",
            examples=["smollm2 team=search"],
        ),
    ] = "",
) -> Filter:
    pairs = [label.partition("=") for label in metadata or ()]
    return Filter(
        model=model,
        created_after=created_after,
        created_before=created_before,
        metadata=tuple((key, value) for key, _, value in pairs),
        search=search,
    )


Filtered = Annotated[Filter, Depends(_filter)]
SortName = Literal[
    "created_at",
    "-created_at",
    "name",
    "-name",
    "status",
    "-status",
    "owner",
    "-owner",
    "ratio",
    "-ratio",
    "progress",
    "-progress",
    "parameters",
    "-parameters",
    "perplexity",
    "-perplexity",
]


class PageRequest(NamedTuple):
    """Which page of a list, in which order."""

    order: Order
    limit: int
    cursor: str | None


def _page(
    sort: Annotated[
        SortName,
        Query(
            description="What to sort by; after `-` from high to low. `ratio` is the share "
            "removed, as reached, planned or asked for; `parameters` and `perplexity` are those "
            "of the published model, of a sweep of its smallest. Jobs without a value come last."
        ),
    ] = "-created_at",
    limit: Limit = 50,
    cursor: Annotated[
        str | None,
        Query(
            max_length=MAX_CURSOR,
            description="`next_cursor` of the previous page of the same list, sorted alike.",
        ),
    ] = None,
) -> PageRequest:
    return PageRequest(Order.parse(sort), limit, cursor)


SortedPage = Annotated[PageRequest, Depends(_page)]
