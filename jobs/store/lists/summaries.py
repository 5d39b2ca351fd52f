"""`JobSummary`: of each job what a list of many shows, and no more is read of its row.

A row can be megabytes: thousands of ratios, the indices of every kept channel. A page of two
hundred would be all that, read, parsed and sent, for a table of a few words a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func

from jobs.states import TERMINAL, Status
from jobs.store.records import UNKNOWN_TARGET
from jobs.store.tables import JOBS
from slimgpt.spec.prune import target_in_words

MAX_SAID = 500
"""Characters of a failure's message, and of its hint."""
SPEC = ("model", "ratio", "ratios", "parameters", "memory", "method", "formats")
PLAN = ("parameters_before", "parameters_after", "ratio_achieved", "layers")
RESULT = (
    "parameters_before",
    "parameters_after",
    "ratio_achieved",
    "seconds",
    "peak_memory_bytes",
)


@dataclass(frozen=True, slots=True)
class SpecSummary:
    """What was asked for, as it is stored: of a job of another version any JSON, or None."""

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
        """How small the model shall be, in words."""
        try:
            return target_in_words(self.ratio, self.ratios, self.parameters, self.memory)
        except (TypeError, ValueError):
            return UNKNOWN_TARGET


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One job as a list shows it. Times are aware, in UTC."""

    id: str
    owner: str
    spec: SpecSummary
    metadata: dict[str, str]
    status: Status
    stage: str | None
    attempt: int
    layers_done: int
    layers_total: int | None
    plan: dict[str, Any] | None
    """`PLAN`'s fields."""
    result: dict[str, Any] | None
    """`RESULT`'s fields, and `perplexity` of the first text."""
    error: dict[str, str] | None
    artifacts_bytes: int | None
    artifacts_removed_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def terminal(self) -> bool:
        """Whether the job is over, unless somebody asks to try it again."""
        return self.status in TERMINAL


_MADE = ("spec", "plan", "result", "error")
_PLAIN = tuple(name for name in JobSummary.__dataclass_fields__ if name not in _MADE)
_PARTS: dict[str, ColumnElement[Any]] = {
    **{f"spec.{name}": JOBS.c.spec[name] for name in SPEC},
    "spec.shape": JOBS.c.spec["schedule", "shape"],
    **{f"plan.{name}": JOBS.c.plan[name] for name in PLAN},
    **{f"result.{name}": JOBS.c.result[name] for name in RESULT},
    "result.perplexity": JOBS.c.result["perplexity", 0],
    "error.code": JOBS.c.error["code"].as_string(),
    "error.message": func.substr(JOBS.c.error["message"].as_string(), 1, MAX_SAID),
    "error.hint": func.substr(JOBS.c.error["hint"].as_string(), 1, MAX_SAID),
}
SUMMARY_COLUMNS = (
    *(JOBS.c[name] for name in _PLAIN),
    *(part.label(name) for name, part in _PARTS.items()),
)


def summary_of(row: RowMapping) -> JobSummary:
    """The job in a row of `SUMMARY_COLUMNS`."""
    made: dict[str, dict[str, Any]] = {name: {} for name in _MADE}
    for label in _PARTS:
        column, _, name = label.partition(".")
        made[column][name] = row[label]
    plan, result, error = (_there(made[name]) for name in ("plan", "result", "error"))
    if result is not None:
        first = result.pop("perplexity")
        result["perplexity"] = [] if first is None else [first]
    plain = {name: row[name] for name in _PLAIN} | {"status": Status(row["status"])}
    spec = SpecSummary(**made["spec"])
    return JobSummary(spec=spec, plan=plan, result=result, error=error, **plain)


def _there(values: dict[str, Any]) -> dict[str, Any] | None:
    """The values, None if there are none: nothing has been written there yet."""
    return values if any(value is not None for value in values.values()) else None
