"""What the engine says while it works: typed events, one JSON object a line.

The engine yields these; its caller decides what they become (a bar, a row, a message).
`parse` is the inverse of `Event.line`. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Stage = Literal["resolve", "plan", "prune", "recover", "evaluate", "verify", "publish"]


class Event(BaseModel):
    """Base of all events."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def line(self) -> str:
        """The event as one line of JSON, without the newline."""
        return self.model_dump_json()


class StageStarted(Event):
    type: Literal["stage_started"] = "stage_started"
    stage: Stage


class StageFinished(Event):
    type: Literal["stage_finished"] = "stage_finished"
    stage: Stage
    seconds: float


class Planned(Event):
    """The plan was made: what will be left of each layer."""

    type: Literal["planned"] = "planned"
    parameters_before: int
    parameters_after: int
    ratio_achieved: float
    layers: int
    channel_multiple: int


class Progress(Event):
    """How far a stage is that is not counted in layers, in units of its own."""

    type: Literal["progress"] = "progress"
    stage: Stage
    done: int
    total: int
    what: str = ""


class LayerFinished(Event):
    """One decoder layer is pruned and its tensors are on disk.

    Errors are relative: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ) over the calibration tokens, without damping.
    """

    type: Literal["layer_finished"] = "layer_finished"
    layer: int
    layers_total: int
    heads_before: int
    heads: int
    kv_heads_before: int
    kv_heads: int
    channels_before: int
    channels: int
    parameters_before: int
    parameters: int
    attention_error: float
    ffn_error: float
    attention_damping: float
    ffn_damping: float
    seconds: float
    resumed: bool = False


class Warned(Event):
    type: Literal["warning"] = "warning"
    message: str
    layer: int | None = None


class Perplexity(Event):
    """Perplexity of the dense and the pruned model on one text, under one protocol."""

    type: Literal["perplexity"] = "perplexity"
    text: str
    protocol: str = ""
    sequence_length: int
    tokens: int
    dense: float
    pruned: float


class Verified(Event):
    """A fresh process loaded the written checkpoint; logits compared on `tokens` tokens."""

    type: Literal["verified"] = "verified"
    loader: str
    max_difference: float
    tokens: int


class Result(Event):
    """The job is done. `checkpoint` is the folder, relative to the working folder.

    `layers` holds the fields of `LayerFinished` and the indices that were kept; `perplexity` those
    of `Perplexity`; `verified` those of `Verified`.
    """

    type: Literal["result"] = "result"
    parameters_before: int
    parameters_after: int
    ratio_achieved: float
    seconds: float
    peak_memory_bytes: int
    layers: list[dict[str, Any]]
    perplexity: list[dict[str, Any]] = []
    verified: list[dict[str, Any]] = []
    checkpoint: str = "checkpoint"


class LayerOutlook(BaseModel):
    """What is left of one decoder layer."""

    layer: int
    heads_before: int
    heads: int
    kv_heads_before: int
    kv_heads: int
    channels_before: int
    channels: int
    parameters_before: int
    parameters: int


class Outlook(Event):
    """The plan alone, of a job that is not run; sizes in bytes, memory estimated.

    `provisional`: the layers' shares are only decided during the run (schedule `global`).
    """

    type: Literal["plan"] = "plan"
    parameters_before: int
    parameters_after: int
    ratio_achieved: float
    channel_multiple: int
    bytes_before: int
    bytes_after: int
    peak_memory_bytes: int
    activation_bytes: int
    provisional: bool
    layers: list[LayerOutlook]


class Failed(Event):
    """The job cannot be done. The last line that the engine writes before it exits with 1."""

    type: Literal["failed"] = "failed"
    code: str
    message: str
    hint: str = ""


AnyEvent = Annotated[
    StageStarted
    | StageFinished
    | Planned
    | Progress
    | LayerFinished
    | Warned
    | Perplexity
    | Verified
    | Result
    | Failed,
    Field(discriminator="type"),
]
_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse(line: str | bytes) -> AnyEvent:
    """Read one line that the engine wrote.

    Raises:
        pydantic.ValidationError: the line is not an event.
    """
    return _adapter.validate_json(line)
