"""`PruneSpec`: what a pruning job is, said once.

The same frozen object is the core of `POST /jobs`, the JSON column of the job's row,
and the argument of the engine (`python -m slimgpt run SPEC.json WORKDIR`). Unknown
fields are refused. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from slimgpt.quantities import Count, Size, short_count, short_size

Method = Literal["slimgpt", "magnitude", "wanda-sp", "flap"]
ScheduleShape = Literal[
    "log", "linear", "uniform", "log-decrease", "linear-decrease", "explicit", "global"
]
HeadScore = Literal["diagonal", "grouped_cholesky", "exact"]
HeadUnit = Literal["kv_group", "query_head"]
Ratio = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
LOCAL_NAME = re.compile(r"local:[^/\\\0][^\\\0]*")
NAMED_TEXTS = ("c4", "alpaca", "gpt4-alpaca", "wikitext2")
HELD_OUT = "held-out"
DEFAULT_SHAPES: dict[str, ScheduleShape] = {
    "slimgpt": "log",
    "magnitude": "uniform",
    "wanda-sp": "uniform",
    "flap": "global",
}


class Spec(BaseModel):
    """Base of every part of a specification: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleSpec(Spec):
    """How the ratio is spread over depth (paper section 4.3, Eq. 6; ALGORITHM section 5)."""

    shape: ScheduleShape = Field(
        "log",
        description="Shape of the ratio over depth; `global` lets the method's own scores "
        "choose (FLAP).",
    )
    first_ratio: Ratio | None = Field(
        None, description="r_0, the ratio of the first layer; at most one of the two ends."
    )
    last_ratio: Ratio | None = Field(None, description="r_(n-1), the ratio of the last layer.")
    ratios: tuple[Ratio, ...] | None = Field(
        None, description="One ratio a layer, for `explicit`; scaled together to meet the target."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ScheduleSpec:
        if (self.shape == "explicit") != (self.ratios is not None):
            raise ValueError("`ratios` goes with shape `explicit`, and only with it")
        if self.first_ratio is not None and self.last_ratio is not None:
            raise ValueError("set `first_ratio` or `last_ratio`, not both: the target fixes one")
        ends = self.first_ratio is not None or self.last_ratio is not None
        if ends and self.shape in ("uniform", "explicit", "global"):
            raise ValueError(f"shape `{self.shape}` takes neither `first_ratio` nor `last_ratio`")
        return self


def _text_source(value: str) -> str:
    if value in NAMED_TEXTS:
        return value
    if value.startswith("hf:") and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value[3:]):
        return value
    if LOCAL_NAME.fullmatch(value) and ".." not in re.split("[:/]", value):
        return value
    known = ", ".join(NAMED_TEXTS)
    raise ValueError(f"unknown text source {value!r}: use {known}, hf:NAME or local:FILE")


class CalibrationSpec(Spec):
    """Where calibration text comes from and how much of it (ALGORITHM section 7)."""

    source: str = Field("c4", max_length=256, examples=["c4", "local:notes.jsonl", "hf:org/set"])
    samples: int = Field(256, ge=1, le=65536, description="Number of sequences.")
    sequence_length: int = Field(2048, ge=8, le=131072, description="Tokens in a sequence.")
    seed: int = Field(0, ge=0, lt=2**32)
    config: str | None = Field(None, max_length=128, description="Configuration of a hub data set.")
    split: str = Field("train", max_length=64, description="Split of a hub data set.")
    text_field: str | None = Field(
        None, max_length=128, description="Field that holds the text; found by itself if unset."
    )

    _source = field_validator("source")(_text_source)


class EvaluationSpec(Spec):
    """What the pruned model is measured on, beside the dense one (ALGORITHM section 9)."""

    texts: tuple[str, ...] = Field(
        (HELD_OUT,),
        max_length=8,
        description="`wikitext2`, `c4`, `hf:NAME`, `local:FILE`, or `held-out`: windows of the "
        "calibration source that calibration did not use.",
    )
    sequence_lengths: tuple[Annotated[int, Field(ge=8, le=131072)], ...] = Field(
        (128,), min_length=1, max_length=4
    )
    max_tokens: int | None = Field(None, ge=8, description="Cut each text after so many tokens.")

    @field_validator("texts")
    @classmethod
    def _known_texts(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v if v == HELD_OUT else _text_source(v) for v in values)


class PruneSpec(Spec):
    """A pruning job.

    Raises:
        pydantic.ValidationError: a field is unknown, out of range, or contradicts another.
    """

    model: str = Field(
        max_length=256,
        description="`org/name`, `org/name@revision` or `local:NAME` (a folder below the models "
        "root).",
        examples=["meta-llama/Llama-2-7b-hf", "local:demo"],
    )
    ratio: Ratio | None = Field(
        None,
        description="Share of all the model's parameters to remove, 0 ≤ ratio < 1. Exactly one of "
        "`ratio`, `parameters` and `memory` says how small the model shall be.",
    )
    parameters: Count | None = Field(
        None,
        description="Parameters that shall be left: a number, or with K, M, B or T.",
        examples=["5.4B", 3400000000],
    )
    memory: Size | None = Field(
        None,
        description="Bytes of weights that shall be left, in the model's own precision: a number, "
        "or with a unit such as GB or GiB.",
        examples=["10GiB"],
    )
    method: Method = "slimgpt"
    schedule: ScheduleSpec = ScheduleSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    head_score: HeadScore = Field("exact", description="ALGORITHM section 3.")
    head_unit: HeadUnit = Field(
        "kv_group",
        description="What leaves together: a KV head with its query heads, or the same number of "
        "query heads in every group.",
    )
    group_size: Literal["dynamic"] | Annotated[int, Field(ge=1, le=65536)] = Field(
        "dynamic", description="FFN channels removed between two scorings (ALGORITHM section 4)."
    )
    damping: float = Field(
        0.01, gt=0, le=1, description="λ, as a share of the Hessian's mean diagonal."
    )
    channel_multiple: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="FFN widths are multiples of this; unset: the largest of 32, 16, 8, 4, 2, 1 "
        "that meets the target.",
    )

    @field_validator("model")
    @classmethod
    def _model_name(cls, value: str) -> str:
        local = LOCAL_NAME.fullmatch(value) and ".." not in re.split("[:/]", value)
        if not (local or (HUB_ID.fullmatch(value) and ".." not in value)):
            raise ValueError(
                f"{value!r} is not a model: use org/name, org/name@revision or local:NAME"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _schedule_of_method(cls, data: Any) -> Any:
        """A method that was published with a schedule of its own gets it unless told otherwise."""
        if isinstance(data, dict) and data.get("schedule") is None:
            shape = DEFAULT_SHAPES.get(str(data.get("method", "slimgpt")), "log")
            return {**data, "schedule": {"shape": shape}}
        return data

    @model_validator(mode="after")
    def _one_target(self) -> PruneSpec:
        if [self.ratio, self.parameters, self.memory].count(None) != 2:
            raise ValueError("give exactly one of `ratio`, `parameters` and `memory`")
        return self

    @property
    def target(self) -> str:
        """What was asked for, in words."""
        if self.parameters is not None:
            return f"{short_count(self.parameters)} parameters"
        if self.memory is not None:
            return f"{short_size(self.memory)} of weights"
        return f"ratio {self.ratio:g}"

    @model_validator(mode="after")
    def _global_needs_scores(self) -> PruneSpec:
        if self.schedule.shape == "global" and self.method != "flap":
            raise ValueError("schedule shape `global` is FLAP's: choose it with method `flap`")
        return self
