"""The engine's typed events, serialised as one JSON object per line.

The engine yields events; the caller turns them into a progress bar, a row or a message.
`parse` is the inverse of `Event.line`. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from slimgpt.spec.planned_sizes import PlannedLayer, PlannedPoint

Stage = Literal["start", "resolve", "plan", "prune", "recover", "evaluate", "verify", "publish"]
ModelName = Literal["dense", "pruned", "recovered"]
Interval = tuple[float, float]
SURVEY = "survey of the dense model"
"""How the `what` of progress in the stage `plan` ends while the dense model is surveyed."""


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def line(self) -> str:
        """The event as one line of JSON, without the newline."""
        return self.model_dump_json()


class PointEvent(Event):
    """Base of events of one model of a sweep; `point` is the index of its ratio, from 0."""

    point: int = 0


class StageStarted(Event):
    type: Literal["stage_started"] = "stage_started"
    stage: Stage


class StageFinished(Event):
    type: Literal["stage_finished"] = "stage_finished"
    stage: Stage
    seconds: float


class Planned(Event):
    """The plan: the model's size before and after pruning, and the number of layers to prune.

    For a sweep the numbers are those of its smallest model, `points` has those of all models, and
    `layers` counts the layers of all models.
    """

    type: Literal["planned"] = "planned"
    parameters_before: int
    parameters_after: int
    ratio_achieved: float
    layers: int
    channel_multiple: int
    points: list[PlannedPoint] = []


class Progress(Event):
    """Progress of a stage that is not counted in layers, in the stage's own units."""

    type: Literal["progress"] = "progress"
    stage: Stage
    done: int
    total: int
    what: str = ""


class LayerFinished(PointEvent, PlannedLayer):
    """One decoder layer is pruned and its tensors are on disk.

    `layers_total`: layers of all models of the job; `points`: number of models. Errors are
    relative: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ) over the calibration tokens, without damping.
    """

    type: Literal["layer_finished"] = "layer_finished"
    points: int = 1
    layers_total: int
    attention_error: float
    ffn_error: float
    attention_damping: float
    ffn_damping: float
    seconds: float
    resumed: bool = False

    @property
    def done(self) -> int:
        """Number of finished layers of the job, including this one."""
        return self.point * (self.layers_total // self.points) + self.layer + 1


class Warned(Event):
    type: Literal["warning"] = "warning"
    message: str
    layer: int | None = None


class Loss(PointEvent):
    """A point of the recovery's loss curves, in nats a token; None: not measured at this step.

    `text`: on windows of the evaluation text; `lessons`: on held-out rows of the recovery's source.
    """

    type: Literal["loss"] = "loss"
    step: int
    steps: int
    learning_rate: float | None = None
    train: float | None = None
    text: float | None = None
    lessons: float | None = None


class Perplexity(PointEvent):
    """Perplexity of the dense and the pruned model on one text, under one protocol.

    `begins_with`: the tokens prepended to every window, as text. `tokens`: how many are predicted.
    `sha256`: over the token ids of all windows, and how many of each are not predicted;
    perplexities are comparable only where it is the same. `recovered`: None without recovery.
    Intervals: 95%, low and high (`slimgpt.report.bootstrap`), of a perplexity and of its ratio to
    that of the dense model; None from a single window.
    """

    type: Literal["perplexity"] = "perplexity"
    text: str
    protocol: str = ""
    sequence_length: int
    begins_with: str = ""
    tokens: int
    windows: int | None = None
    sha256: str = ""
    dense: float
    dense_interval: Interval | None = None
    pruned: float
    pruned_interval: Interval | None = None
    pruned_ratio_interval: Interval | None = None
    recovered: float | None = None
    recovered_interval: Interval | None = None
    recovered_ratio_interval: Interval | None = None

    @property
    def window(self) -> str:
        """The window as text: `128 tokens a window, each begins with <s>`."""
        begins = f", each begins with {self.begins_with}" if self.begins_with else ""
        return f"{self.sequence_length} tokens a window{begins}"


class Latency(PointEvent):
    """Time and memory of generation for one model at one batch size: medians over the rounds.

    A spread is the width of the 5th to 95th percentile range; `interleaved`: the models were
    measured in alternation.
    """

    type: Literal["latency"] = "latency"
    model: ModelName
    loader: str
    batch: int
    prompt_tokens: int
    new_tokens: int
    prefill_ms: float
    prefill_spread_ms: float
    decode_ms_per_token: float
    decode_spread_ms: float
    tokens_per_second: float
    peak_memory_bytes: int
    weights_bytes: int
    repeats: int
    interleaved: bool


class TaskScore(PointEvent):
    """Scores of the models on one task or group of tasks, by one metric of the harness.

    `group`: the group of the task; in the row of a group's mean, the group's own name. `sha256`:
    over everything that the scores depend on, except the model. Errors are standard errors; None if
    the harness gives none. `recovered`: None without recovery.
    """

    type: Literal["task_score"] = "task_score"
    task: str
    metric: str
    shots: int
    samples: int
    group: str | None = None
    sha256: str = ""
    dense: float
    dense_error: float | None = None
    pruned: float
    pruned_error: float | None = None
    recovered: float | None = None
    recovered_error: float | None = None


class Verified(PointEvent):
    """A fresh process loaded the written model; its logits differ by at most `bound`, which
    `bound_is` explains."""

    type: Literal["verified"] = "verified"
    format: str = "exact"
    loader: str
    max_difference: float
    bound: float = 0.0
    bound_is: str = ""
    tokens: int
    bytes: int | None = None


class Outcome(BaseModel):
    """What became of one model.

    `published`: whether the pruned or the recovered model is. `assessment`: the fields of
    `slimgpt.report.assessment.Assessment`.
    """

    parameters_after: int
    ratio_achieved: float
    published: ModelName = "pruned"
    verdict: str = ""
    assessment: dict[str, Any] | None = None


class ResultPoint(Outcome):
    """One model of a sweep; `folder` is relative to the job's folder.

    `perplexity`: the fields of `Perplexity` on the first text; None if none was measured.
    """

    ratio: float
    folder: str
    perplexity: dict[str, Any] | None = None


class Result(Outcome, Event):
    """The job is done. `checkpoint` is the folder, relative to the working folder.

    `seconds`: wall time since the command, or since a worker's claim of the job; `stages` has those
    of each stage, until the next begins, and adds up to it. `layers` has the fields of
    `LayerFinished` and the kept indices; `perplexity` those of `Perplexity`; `verified` those of
    `Verified`. For a sweep counts and outcome are those of its smallest model, the lists have the
    entries of all models, and `points` has each model.
    """

    type: Literal["result"] = "result"
    parameters_before: int
    seconds: float
    stages: dict[str, float] = {}
    peak_memory_bytes: int
    layers: list[dict[str, Any]] = []
    perplexity: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    verified: list[dict[str, Any]] = []
    points: list[ResultPoint] = []
    checkpoint: str = "checkpoint"


class Failed(Event):
    """The job failed. This is the last line before the engine exits with status 1."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    hint: str = ""


AnyEvent = Annotated[
    StageStarted | StageFinished | Planned | Progress | LayerFinished | Warned | Loss | Perplexity
    | Latency | TaskScore | Verified | Result | Failed,
    Field(discriminator="type"),
]  # fmt: skip
_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse(line: str | bytes) -> AnyEvent:
    """Parse one line of the engine's output.

    Raises:
        pydantic.ValidationError: the line is not an event.
    """
    return _adapter.validate_json(line)
