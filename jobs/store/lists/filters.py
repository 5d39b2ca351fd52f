"""`Filter`: the filters of a job list as SQL conditions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select

from jobs.store.tables import JOBS

NAME = func.coalesce(JOBS.c.name, JOBS.c.spec["model"].as_string())
"""A job's name; of one that an earlier version posted, its model's."""

MIN_ID_PART = 4
"""Characters; fewer are in most ids, by chance."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that a job must all satisfy; empty ones are ignored.

    Attributes:
        model: the model's name in the specification.
        created_after, created_before: aware times, inclusive and exclusive.
        metadata: labels, as pairs of key and value.
        search: words, each of which is part of the name, the model or a label (`KEY=VALUE`)
            or, from four characters on, of the id; ASCII letters match in either case.
    """

    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    search: str = ""

    def conditions(self, dialect: str) -> list[ColumnElement[bool]]:
        """The conditions in SQL, for dialect `sqlite` or `postgresql`."""
        found: list[ColumnElement[bool]] = []
        if self.model is not None:
            found.append(JOBS.c.spec["model"].as_string() == self.model)
        if self.created_after is not None:
            found.append(JOBS.c.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(JOBS.c.created_at < self.created_before)
        labels = JOBS.c.metadata
        found += [labels[name].as_string() == value for name, value in self.metadata]
        found += [_has(word, dialect) for word in self.search.split()]
        return found


def _has(word: str, dialect: str) -> ColumnElement[bool]:
    """Whether a word is part of what a job is known by."""
    each = func.jsonb_each_text if dialect == "postgresql" else func.json_each
    labels = each(JOBS.c.metadata).table_valued("key", "value")
    label = (labels.c.key + "=" + labels.c.value).icontains(word, autoescape=True)
    found = [
        NAME.icontains(word, autoescape=True),
        JOBS.c.spec["model"].as_string().icontains(word, autoescape=True),
        select(labels.c.key).where(label).correlate(JOBS).exists(),
    ]
    part = word.lower().removeprefix("job_")
    if len(part) >= MIN_ID_PART:
        found.append(JOBS.c.id.icontains(part, autoescape=True))
    return or_(*found)
