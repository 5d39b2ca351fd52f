"""The request body of a job: `JobFields`, for type checkers, and how it becomes JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from pydantic import BaseModel

from slimgpt.spec.prune import (
    CalibrationSpec,
    EvaluationSpec,
    Format,
    GgufType,
    HeadScore,
    HeadUnit,
    Method,
    PruneSpec,
    Recipe,
    RecoverySpec,
    ScheduleSpec,
)

Part = Mapping[str, Any]
Spec = PruneSpec | Mapping[str, Any]
"""A job's specification, as the engine's object or as JSON."""


class JobFields(TypedDict, total=False):
    """The fields of a job, as `POST /v1/jobs` takes them; `model` and one target are required."""

    model: str
    ratio: float
    ratios: Sequence[float]
    parameters: int | str
    memory: int | str
    method: Method
    recipe: Recipe
    schedule: ScheduleSpec | Part
    calibration: CalibrationSpec | Part
    recovery: RecoverySpec | Part
    evaluation: EvaluationSpec | Part
    head_score: HeadScore
    head_unit: HeadUnit
    group_size: int | str
    damping: float
    residual_target: float
    channel_multiple: int
    tensor_parallel: int
    devices: int
    formats: Sequence[Format]
    gguf_type: GgufType
    name: str
    metadata: Mapping[str, str]


class JobFilters(TypedDict, total=False):
    """Which jobs a list has: `status` one or several, `metadata` labels that they have.

    `search` finds parts of names, ids and labels; `sort` is a field, after `-` from high to low.
    `owner` is for admins, who see the jobs of all.
    """

    status: str | Sequence[str]
    model: str
    metadata: Mapping[str, str] | Sequence[str]
    owner: str
    created_after: datetime | str
    created_before: datetime | str
    search: str
    sort: str


def params_of(filters: Mapping[str, Any]) -> dict[str, Any]:
    """The query of a list."""
    params = dict(filters)
    labels = params.get("metadata")
    if isinstance(labels, Mapping):
        params["metadata"] = [f"{key}={value}" for key, value in labels.items()]
    for name in ("created_after", "created_before"):
        if isinstance(params.get(name), datetime):
            params[name] = params[name].isoformat()
    return params


def body_of(spec: Spec | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a specification, with fields in place of its own.

    What is right the service decides: it may be newer than this client.
    """
    given = {} if spec is None else _json(spec)
    return {**given, **{name: _json(value) for name, value in fields.items()}}


def _json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    return value
