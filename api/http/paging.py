"""Paging parameters, shared by all lists."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from jobs.store.store import MAX_PAGE

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[
    str | None, Query(max_length=128, description="`next_cursor` of the previous page.")
]
