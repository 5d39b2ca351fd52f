"""`PruneSpec`: the specification of a pruning job (request body, JSON column, engine argument).

The same frozen object is the core of `POST /jobs`, the JSON column of the job's row,
and the argument of the engine (`python -m slimgpt run SPEC.json WORKDIR`). Unknown
fields are refused. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from slimgpt.spec.calibration import CalibrationSpec
from slimgpt.spec.evaluation import (
    MAX_TASKS,
    MAX_TEXTS,
    EvaluationSpec,
    InferenceSpec,
    SampleSpec,
    TaskSpec,
)
from slimgpt.spec.names import (
    HELD_OUT,
    HUB_ID,
    NAMED_TEXTS,
    UPLOAD,
    Bos,
    Format,
    GgufType,
    Several,
    Spec,
    model_name,
    repeated,
)
from slimgpt.spec.recipe import (
    DEFAULT_SHAPES,
    HeadScore,
    HeadUnit,
    Method,
    Recipe,
    completed,
)
from slimgpt.spec.recovery import RecoverySpec
from slimgpt.spec.schedule import Ratio, ScheduleShape, ScheduleSpec
from slimgpt.spec.sizes import MAX_DEVICES, Count, Size, target_in_words

__all__ = [
    "DEFAULT_SHAPES",
    "HELD_OUT",
    "HUB_ID",
    "MAX_TASKS",
    "MAX_TEXTS",
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
    "Recipe",
    "RecoverySpec",
    "SampleSpec",
    "ScheduleShape",
    "ScheduleSpec",
    "TaskSpec",
]

MAX_POINTS = 16
POINT = "ratio-"


def point_folder(ratio: float) -> str:
    """The folder of a sweep's model in its results, `ratio-0.33`."""
    return f"{POINT}{ratio:g}"


class PruneSpec(Spec):
    """A pruning job.

    Raises:
        pydantic.ValidationError: a field is unknown, out of range, or contradicts another.
    """

    model: str = Field(
        max_length=256,
        description="`org/name`, `org/name@revision` or `local:NAME` (a folder below the models "
        "root).",
        examples=["local:model", "meta-llama/Llama-2-7b-hf"],
    )
    ratio: Ratio | None = Field(
        None,
        description="Share of all the model's parameters to remove, 0 ≤ ratio < 1. Exactly one of "
        "`ratio`, `ratios`, `parameters` and `memory` says how small the model shall be.",
    )
    ratios: Annotated[Several[Ratio], Field(min_length=2, max_length=MAX_POINTS)] | None = Field(
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
    recipe: Recipe | None = Field(
        None,
        description="Sets `schedule`, `head_score`, `head_unit` and `residual_target` together, "
        "where they are not set themselves: `paper`, the published method; `measured`, sizes by "
        "measured damage and kept weights fitted towards the dense model. Unset: `measured` for "
        "method `slimgpt`, unless a schedule or format `uniform` is requested.",
    )
    schedule: ScheduleSpec = ScheduleSpec()
    calibration: CalibrationSpec = CalibrationSpec()
    recovery: RecoverySpec | None = Field(
        None, description="Training after pruning; unset: none. `{}` is the paper's recipe."
    )
    evaluation: EvaluationSpec = EvaluationSpec()
    head_score: HeadScore = Field(
        "exact",
        description="Score by which heads are removed: `exact`, the increase of the layer's error; "
        "`grouped_cholesky`, the paper's; `diagonal`.",
    )
    head_unit: HeadUnit = Field(
        "kv_group",
        description="What leaves together: a KV head with its query heads; the same number of "
        "query heads in every group; or `mixed`, both, as schedule `measured` finds best.",
    )
    group_size: Literal["dynamic"] | Annotated[int, Field(ge=1, le=65536)] = Field(
        "dynamic", description="FFN channels removed between two scorings."
    )
    damping: float = Field(
        0.01, gt=0, le=1, description="λ, as a share of the Hessian's mean diagonal."
    )
    residual_target: float = Field(
        0.0,
        ge=0,
        le=1,
        description="λ: the kept weights are fitted to what the module gives plus λ times the way "
        "from the pruned model's residual stream to the dense one's; 0: the paper's fit.",
    )
    channel_multiple: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="FFN widths are multiples of this; unset: the largest of 32, 16, 8, 4, 2, 1 "
        "that meets the target.",
    )
    tensor_parallel: Literal[1, 2, 4, 8, 16, 32] = Field(
        1, description="Heads, KV heads and FFN widths of every layer divide by this."
    )
    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES)] = Field(
        1,
        description="GPUs of the worker's machine that compute the job together, each on a share "
        "of the texts. `SLIMGPT_MAX_DEVICES` limits it.",
    )
    formats: Several[Format] = Field(
        (),
        max_length=len(get_args(Format)),
        description="Formats beside the checkpoint, each proved by its own loader. `uniform` (all "
        "layers alike) is the checkpoint itself; `exact` is then written only if listed.",
        examples=[["gguf"]],
    )
    gguf_type: GgufType | None = Field(
        None, description="Precision of the GGUF file's matrices; unset: the model's own."
    )

    _model = field_validator("model")(model_name)

    @model_validator(mode="before")
    @classmethod
    def _schedule_of_method(cls, data: Any) -> Any:
        """Fill in the settings of the recipe, and the default schedule of the method.

        Runs before validation: values of wrong types are passed on, and rejected later.
        """
        return completed(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _one_target(self) -> PruneSpec:
        given = [self.ratio, self.ratios, self.parameters, self.memory]
        if given.count(None) != len(given) - 1:
            raise ValueError("give exactly one of `ratio`, `ratios`, `parameters` and `memory`")
        # Compared as in their folders' names, which have six significant digits.
        if twice := repeated(f"{ratio:g}" for ratio in self.ratios or ()):
            raise ValueError(f"`ratios` contains {twice} more than once")
        return self

    @property
    def points(self) -> tuple[PruneSpec, ...]:
        """One specification per model: one per ratio of a sweep, else the specification itself."""
        if self.ratios is None:
            return (self,)
        return tuple(
            self.model_copy(update={"ratio": ratio, "ratios": None}) for ratio in self.ratios
        )

    @property
    def layers_alike(self) -> bool:
        """Whether all layers must have the same size."""
        return "uniform" in self.formats

    @property
    def text_sources(self) -> dict[str, str]:
        """The name of every text of the job, by JSON pointer."""
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
        """The name of every folder of texts of the job, by JSON pointer."""
        folder = self.evaluation.tasks_source
        return {} if folder is None else {"/evaluation/tasks_source": folder}

    @property
    def target(self) -> str:
        """The target as text."""
        return target_in_words(self.ratio, self.ratios, self.parameters, self.memory)

    @property
    def sequence_lengths(self) -> dict[str, int]:
        """Lengths in tokens of the sequences that the job cuts or generates, by JSON pointer.

        None may exceed the model's positions. Held-out windows are not included: they are at most
        as long as calibration sequences.
        """
        lengths = {"/calibration/sequence_length": self.calibration.sequence_length}
        if self.recovery is not None:
            lengths["/recovery/sequence_length"] = self.recovery.sequence_length
        if set(self.evaluation.texts) - {HELD_OUT}:
            windows = enumerate(self.evaluation.sequence_lengths)
            lengths |= {f"/evaluation/sequence_lengths/{index}": n for index, n in windows}
        return lengths | self.evaluation.generated_lengths

    @model_validator(mode="after")
    def _writes(self) -> PruneSpec:
        if twice := repeated(self.formats):
            raise ValueError(f"`formats` names {twice} more than once")
        if self.layers_alike and self.schedule.shape != "uniform":
            raise ValueError(
                "format `uniform` needs layers of equal size: choose schedule `uniform`, or format "
                "`padded`, which pads layers"
            )
        if self.gguf_type is not None and "gguf" not in self.formats:
            raise ValueError("`gguf_type` needs format `gguf`")
        return self

    @model_validator(mode="after")
    def _schedules_need_methods(self) -> PruneSpec:
        if self.schedule.shape == "global" and self.method != "flap":
            raise ValueError("schedule shape `global` needs method `flap`")
        if self.recipe is not None and self.method != "slimgpt":
            raise ValueError(f"recipe `{self.recipe}` needs method `slimgpt`")
        if self.schedule.shape == "measured" and self.method != "slimgpt":
            raise ValueError("schedule shape `measured` needs method `slimgpt`")
        if self.residual_target and self.method != "slimgpt":
            raise ValueError("`residual_target` needs method `slimgpt`")
        if self.head_unit == "mixed" and self.schedule.shape != "measured":
            raise ValueError(
                f"head_unit `mixed`{' of recipe `measured`' * (self.recipe == 'measured')} needs "
                f"schedule `measured`: choose head_unit `kv_group` or `query_head`"
            )
        return self
