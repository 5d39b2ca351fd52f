"""Query parameters of job lists, parsed to a `jobs.store.lists.filters.Filter`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

from jobs.store.lists.filters import Filter


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
            examples=["local:demo"],
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
) -> Filter:
    pairs = [label.partition("=") for label in metadata or ()]
    return Filter(
        model=model,
        created_after=created_after,
        created_before=created_before,
        metadata=tuple((key, value) for key, _, value in pairs),
    )


Filtered = Annotated[Filter, Depends(_filter)]
