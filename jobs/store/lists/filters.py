"""`Filter`: the filters of a job list as SQL conditions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement

from jobs.store.tables import JOBS


@dataclass(frozen=True, slots=True)
class Filter:
    """What a job must match, all of it; what is empty matches every job.

    Attributes:
        model: the model's name as the job's specification says it.
        created_after, created_before: aware times; the first is included, the second is not.
        metadata: every one of these labels, each a key and its value.
    """

    model: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same in SQL."""
        found: list[ColumnElement[bool]] = []
        if self.model is not None:
            found.append(JOBS.c.spec["model"].as_string() == self.model)
        if self.created_after is not None:
            found.append(JOBS.c.created_at >= self.created_after)
        if self.created_before is not None:
            found.append(JOBS.c.created_at < self.created_before)
        labels = JOBS.c.metadata
        found += [labels[name].as_string() == value for name, value in self.metadata]
        return found
