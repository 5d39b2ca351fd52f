"""`PruneSpec`: what a pruning job is, said once.

The same frozen object is the core of `POST /jobs`, the JSON column of the job's row,
and the argument of the engine (`python -m slimgpt run SPEC.json WORKDIR`). Unknown
fields are refused. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from slimgpt.spec.evaluation import EvaluationSpec, InferenceSpec, TaskSpec
from slimgpt.spec.names import (
    BOS,
    HELD_OUT,
    HUB_ID,
    LOCAL_NAME,
    NAMED_TEXTS,
    UPLOAD,
    Bos,
    Format,
    GgufType,
    Spec,
    model_name,
    text_source,
)
from slimgpt.spec.recovery import RecoverySpec
from slimgpt.spec.sizes import Count, Size, short_count, short_size

__all__ = [
    "BOS",
    "DEFAULT_SHAPES",
    "HELD_OUT",
    "HUB_ID",
    "LOCAL_NAME",
    "NAMED_TEXTS",
    "UPLOAD",
    "Bos",
    "CalibrationSpec",
    "EvaluationSpec",
    "Format",
    "GgufType",
    "HeadScore",
    "HeadUnit",
    "InferenceSpec",
    "Method",
    "PruneSpec",
    "Ratio",
    "RecoverySpec",
    "ScheduleShape",
    "ScheduleSpec",
    "TaskSpec",
]

Method = Literal["slimgpt", "magnitude", "wanda-sp", "flap"]
ScheduleShape = Literal[
    "log", "linear", "uniform", "log-decrease", "linear-decrease", "explicit", "global"
]
HeadScore = Literal["diagonal", "grouped_cholesky", "exact"]
HeadUnit = Literal["kv_group", "query_head"]
Ratio = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]
MAX_POINTS = 16
POINT = "ratio-"

DEFAULT_SHAPES: dict[str, ScheduleShape] = {
    "slimgpt": "log",
    "magnitude": "uniform",
    "wanda-sp": "uniform",
    "flap": "global",
}


def point_folder(ratio: float) -> str:
    """The folder of a sweep's model in its results, `ratio-0.33`."""
    return f"{POINT}{ratio:g}"


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


class CalibrationSpec(Spec):
    """Where calibration text comes from and how much of it (ALGORITHM section 7)."""

    source: str = Field("c4", max_length=256, examples=["c4", "local:notes.jsonl", "hf:org/set"])
    samples: int = Field(256, ge=1, le=65536, description="Number of sequences.")
    sequence_length: int = Field(2048, ge=8, le=131072, description="Tokens in a sequence.")
    seed: int = Field(0, ge=0, lt=2**32)
    bos: Bos = Field("tokenizer", description=BOS)
    config: str | None = Field(None, max_length=128, description="Configuration of a hub data set.")
    split: str = Field("train", max_length=64, description="Split of a hub data set.")
    text_field: str | None = Field(
        None, max_length=128, description="Field that holds the text; found by itself if unset."
    )

    _source = field_validator("source")(text_source)


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
        "`ratio`, `ratios`, `parameters` and `memory` says how small the model shall be.",
    )
    ratios: Annotated[tuple[Ratio, ...], Field(min_length=2, max_length=MAX_POINTS)] | None = Field(
        None,
        description="A sweep: several shares, each of which makes a model of its own. They share "
        "texts and the dense model's measures, and come with one comparison.",
        examples=[[0.2, 0.33, 0.5]],
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
    recovery: RecoverySpec | None = Field(
        None, description="Training after pruning; unset: none. `{}` is the paper's recipe."
    )
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
    tensor_parallel: Literal[1, 2, 4, 8, 16, 32] = Field(
        1, description="Heads, KV heads and FFN widths of every layer divide by this."
    )
    formats: tuple[Format, ...] = Field(
        (),
        description="Formats to publish beside `exact`, each in a folder of its name and proved by "
        "its own loader. `uniform` makes all layers alike, and goes with schedule `uniform`.",
        examples=[["gguf"]],
    )
    gguf_type: GgufType | None = Field(
        None, description="Precision of the GGUF file's matrices; unset: the model's own."
    )

    _model = field_validator("model")(model_name)

    @model_validator(mode="before")
    @classmethod
    def _schedule_of_method(cls, data: Any) -> Any:
        """A method that was published with a schedule of its own gets it unless told otherwise."""
        if isinstance(data, dict) and data.get("schedule") is None:
            shape = DEFAULT_SHAPES.get(str(data.get("method", "slimgpt")), "log")
            if "uniform" in (data.get("formats") or ()):
                shape = "uniform"
            return {**data, "schedule": {"shape": shape}}
        return data

    @model_validator(mode="after")
    def _one_target(self) -> PruneSpec:
        given = [self.ratio, self.ratios, self.parameters, self.memory]
        if given.count(None) != len(given) - 1:
            raise ValueError("give exactly one of `ratio`, `ratios`, `parameters` and `memory`")
        folders = [point_folder(ratio) for ratio in self.ratios or ()]
        if twice := [folder for folder in folders if folders.count(folder) > 1]:
            raise ValueError(f"`ratios` holds {twice[0].removeprefix(POINT)} twice")
        return self

    @property
    def points(self) -> tuple[PruneSpec, ...]:
        """What is asked for, one model each: a sweep's ratios, else the specification itself."""
        if self.ratios is None:
            return (self,)
        return tuple(
            self.model_copy(update={"ratio": ratio, "ratios": None}) for ratio in self.ratios
        )

    @property
    def layers_alike(self) -> bool:
        """Whether all layers shall have one size."""
        return "uniform" in self.formats

    @property
    def text_sources(self) -> dict[str, str]:
        """Every text that the job names, by its place as a JSON pointer."""
        places = {"/calibration/source": self.calibration.source}
        if self.recovery is not None:
            places["/recovery/source"] = self.recovery.source
        for index, task in enumerate(self.evaluation.tasks):
            if task.source is not None:
                places[f"/evaluation/tasks/{index}/source"] = task.source
        texts = enumerate(self.evaluation.texts)
        return places | {f"/evaluation/texts/{index}": text for index, text in texts}

    @property
    def text_folders(self) -> dict[str, str]:
        """Every folder of texts that the job names, by its place as a JSON pointer."""
        folder = self.evaluation.tasks_source
        return {} if folder is None else {"/evaluation/tasks_source": folder}

    @property
    def target(self) -> str:
        """What was asked for, in words."""
        if self.parameters is not None:
            return f"{short_count(self.parameters)} parameters"
        if self.memory is not None:
            return f"{short_size(self.memory)} of weights"
        if self.ratios is not None:
            return f"ratios {', '.join(f'{ratio:g}' for ratio in self.ratios)}"
        return f"ratio {self.ratio:g}"

    @property
    def sequence_lengths(self) -> dict[str, int]:
        """Tokens of the sequences that the job cuts or writes, by their place as a JSON pointer.

        None may have more than the model's positions. Held-out windows are left out: they are as
        long as calibration's at most.
        """
        lengths = {"/calibration/sequence_length": self.calibration.sequence_length}
        if self.recovery is not None:
            lengths["/recovery/sequence_length"] = self.recovery.sequence_length
        if set(self.evaluation.texts) - {HELD_OUT}:
            windows = enumerate(self.evaluation.sequence_lengths)
            lengths |= {f"/evaluation/sequence_lengths/{index}": n for index, n in windows}
        if (timed := self.evaluation.inference) is not None:
            lengths["/evaluation/inference"] = timed.prompt_tokens + timed.new_tokens
        return lengths

    @model_validator(mode="after")
    def _writes(self) -> PruneSpec:
        if twice := {form for form in self.formats if self.formats.count(form) > 1}:
            raise ValueError(f"`formats` names {', '.join(sorted(twice))} more than once")
        if self.layers_alike and self.schedule.shape != "uniform":
            raise ValueError(
                "format `uniform` wants all layers alike: choose schedule `uniform`, or format "
                "`padded`, which fills layers up"
            )
        if self.gguf_type is not None and "gguf" not in self.formats:
            raise ValueError("`gguf_type` goes with format `gguf`, and only with it")
        return self

    @model_validator(mode="after")
    def _global_needs_scores(self) -> PruneSpec:
        if self.schedule.shape == "global" and self.method != "flap":
            raise ValueError("schedule shape `global` is FLAP's: choose it with method `flap`")
        return self
