"""`JobSummary`: the parts of a job that lists show; only these are read from its row.

A row may have megabytes, such as the indices of all kept channels, times 200 rows of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, RowMapping, func
from sqlalchemy.dialects.postgresql import JSONB

from jobs.states import TERMINAL, Status
from jobs.store.lists.sort_values import listed_model
from jobs.store.records import UNKNOWN_TARGET, default_name, wall_seconds
from jobs.store.tables import JOBS
from slimgpt.spec.sizes import target_in_words

MAX_SAID = 500
"""Maximum characters of an error's message and hint."""
SIZES = ("parameters_before", "parameters_after", "ratio_achieved")
TARGET = ("ratio", "ratios", "parameters", "memory")
PARTS = {
    "spec": ("model", *TARGET, "method", "formats", "schedule.shape"),
    "plan": (*SIZES, "layers", "points"),
    "result": (*SIZES, "published", "seconds", "peak_memory_bytes", "perplexity.0", "points"),
}
"""The paths read from each JSON column."""
POINT = ("ratio", "parameters_after", "ratio_achieved", "published", "perplexity")
"""What is shown of each model of a sweep, of a plan and of a result alike."""
ERROR = ("code", "message", "hint")


@dataclass(frozen=True, slots=True)
class SpecSummary:
    """Parts of the stored specification, not validated: another version may have written it."""

    model: Any
    ratio: Any
    ratios: Any
    parameters: Any
    memory: Any
    method: Any
    formats: Any
    shape: Any

    @property
    def target(self) -> str:
        """The target as text."""
        try:
            return target_in_words(self.ratio, self.ratios, self.parameters, self.memory)
        except (TypeError, ValueError):
            return UNKNOWN_TARGET


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in a list. Times are aware, in UTC."""

    id: str
    owner: str
    spec: SpecSummary
    metadata: dict[str, str]
    name: str
    status: Status
    stage: str | None
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None
    """As in `PARTS`, with `POINT` of each model of a sweep; so is `result`, whose `perplexity` is
    a list of the first text's, of the model whose size it has: the smallest of a sweep."""
    result: dict[str, Any] | None
    error: dict[str, str] | None
    artifacts_bytes: int | None
    artifacts_removed_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def terminal(self) -> bool:
        """Whether the job is finished; a retry may queue it again."""
        return self.status in TERMINAL

    @property
    def seconds(self) -> float | None:
        """Wall time from the claim to the end; None while there is none, or no end."""
        return wall_seconds(self.started_at, self.finished_at)


_PLAIN = tuple(name for name in JobSummary.__dataclass_fields__ if name not in {*PARTS, "error"})


def summary_columns(dialect: str) -> list[ColumnElement[Any]]:
    """The columns to select for `summary_of`.

    Args:
        dialect: `sqlite` or `postgresql`.
    """
    plain: list[ColumnElement[Any]] = [JOBS.c[name] for name in _PLAIN]
    parts = [_parts(dialect, name, paths) for name, paths in PARTS.items()]
    said = [func.substr(JOBS.c.error[name].as_string(), 1, MAX_SAID) for name in ERROR]
    return [*plain, *parts, *(words.label(name) for name, words in zip(ERROR, said, strict=True))]


def _parts(dialect: str, name: str, paths: Sequence[str]) -> ColumnElement[Any]:
    """Parts of a column as one JSON list; separate columns would lose digits on SQLite."""
    column = JOBS.c[name]
    steps = [[int(s) if s.isdigit() else s for s in path.split(".")] for path in paths]
    if dialect == "postgresql":
        found = func.jsonb_build_array(*(column[tuple(path)] for path in steps), type_=JSONB)
        return found.label(name)
    written = ("".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in path) for path in steps)
    return func.json_extract(column, *(f"${path}" for path in written), type_=JSON).label(name)


def _field(path: str) -> str:
    """The last name of a path: `shape` of `schedule.shape`."""
    return [step for step in path.split(".") if not step.isdigit()][-1]


def summary_of(row: RowMapping) -> JobSummary:
    """The job of a row of `summary_columns`."""
    found = {
        name: dict(zip(map(_field, paths), row[name] or [None] * len(paths), strict=True))
        for name, paths in PARTS.items()
    }
    for values in (found["plan"], found["result"]):
        values["points"] = _points(values["points"])
    found["result"]["perplexity"] = _as_list(found["result"]["perplexity"])
    listed = _as_list(listed_model(found["result"]).get("perplexity"))
    result = _there(found["result"] | {"perplexity": listed})
    spec = SpecSummary(**found["spec"])
    whole = wall_seconds(row["started_at"], row["finished_at"])
    if result is not None and whole is not None:
        result["seconds"] = whole
    plain = {name: row[name] for name in _PLAIN} | {"status": Status(row["status"])}
    plain["name"] = plain["name"] or default_name(spec)
    return JobSummary(
        spec=spec,
        plan=_there(found["plan"]),
        result=result,
        error={name: row[name] for name in ERROR if row[name] is not None} or None,
        **plain,
    )


def _points(stored: Any) -> list[dict[str, Any]]:
    """What is shown of the models of a sweep; empty for one model."""
    found = [point for point in stored or () if isinstance(point, dict)]
    return [{name: point[name] for name in POINT if name in point} for point in found]


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else [value]


def _there(values: dict[str, Any]) -> dict[str, Any] | None:
    """The values; None if all are empty, because the column is not written yet."""
    return values if any(value not in (None, []) for value in values.values()) else None
