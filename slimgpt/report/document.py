"""`Document`: reads a `report.json`, also of other versions of the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slimgpt.errors import SlimGPTError
from slimgpt.events import LayerFinished, Loss, ModelName, Perplexity, Verified
from slimgpt.planning.document import TokenCosts
from slimgpt.report.schema import (
    SCHEMA_VERSION,
    CalibrationReport,
    ModelReport,
    RepeatReport,
    SampleText,
)

REPORT = "report.json"
PROVENANCE = "provenance.json"
PLACES = (REPORT, f"checkpoint/{REPORT}")
LARGEST = 64 << 20  # bytes; a report of 128 layers with all kept indices has about 20 MB
SWEEP = "sweep"
"""`kind` of the report of a sweep."""
NAMES: tuple[ModelName, ...] = ("dense", "pruned", "recovered")


R = TypeVar("R", bound="LenientModel")


class ReportError(SlimGPTError):
    """The report does not exist or cannot be read."""

    code = "report-unreadable"


class LenientModel(BaseModel):
    """Base of models read from reports of any version: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(LenientModel):
    """A task's score, as shares; errors are standard errors; None: not measured."""

    task: str
    metric: str = ""
    shots: int | None = None
    samples: int | None = None
    group: str | None = None
    sha256: str = ""
    dense: float | None = None
    dense_error: float | None = None
    pruned: float | None = None
    pruned_error: float | None = None
    recovered: float | None = None
    recovered_error: float | None = None


class InferenceTiming(LenientModel):
    """Inference time (ms) and memory (bytes) of one model at one batch size."""

    model: str
    loader: str = ""
    batch: int
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    prefill_ms: float | None = None
    prefill_spread_ms: float | None = None
    decode_ms_per_token: float | None = None
    decode_spread_ms: float | None = None
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    weights_bytes: int | None = None


class LayerDrift(LenientModel):
    """Relative squared error of a model's activations after a layer, against the dense model."""

    model: str = "pruned"
    layer: int
    stream: float
    ffn: float


class Tried(LenientModel):
    """A learning rate, and the held-out loss after a few steps with it."""

    learning_rate: float
    loss: float | None = None


class Recovery(LenientModel):
    """Training data and loss curves of a recovery."""

    source: str
    sequences: int
    tokens: int
    held_out: int
    left_out: str = ""
    trainable_parameters: int
    curves: list[Loss] = []
    published: bool
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    probe: list[Tried] = []
    seconds: float = 0.0


class Told(LenientModel):
    """What the numbers mean, what they are worth, and what to do."""

    loss: str = "unknown"
    meaning: str = ""
    evidence: list[str] = []
    advice: list[str] = []


class Environment(LenientModel):
    """Versions and hardware of a run."""

    versions: dict[str, str] = {}
    system: str = ""
    processor: str = ""
    cores: int | None = None
    threads: int | None = None
    gpu: str | None = None
    gpu_memory_bytes: int | None = None
    cuda: str | None = None


class Samples(LenientModel):
    """Sample texts of the models."""

    source: str = ""
    temperature: float = 1.0
    seed: int = 0
    texts: list[SampleText] = []


class Document(LenientModel):
    """A report; parts that its version did not have or that were not requested are empty.

    Attributes:
        raw: the JSON object that it was read from.
        provenance: content of `provenance.json` in the same folder; empty if there is none.
    """

    verdict: str = ""
    assessment: Told | None = None
    schema_version: int = 1
    engine_version: str = ""
    model: ModelReport
    spec: dict[str, Any]
    calibration: CalibrationReport | None = None
    layers: list[LayerFinished] = []
    recovery: Recovery | None = None
    perplexity: list[Perplexity] = []
    tasks: list[Score] = []
    inference: list[InferenceTiming] = []
    drift: list[LayerDrift] = []
    verified: list[Verified] = []
    samples: Samples | None = None
    token_costs: TokenCosts | None = None
    seconds: dict[str, float] = {}
    seconds_unknown: dict[str, str] = {}
    device: str = ""
    environment: Environment | None = None
    repeat: RepeatReport | None = None
    stage_memory_bytes: dict[str, int] = {}
    peak_memory_bytes: int | None = None
    warnings: list[str] = []
    raw: dict[str, Any] = Field({}, exclude=True)
    provenance: dict[str, Any] = Field({}, exclude=True)

    @property
    def published(self) -> ModelName:
        """The model that was published."""
        return "recovered" if self.recovery and self.recovery.published else "pruned"

    @property
    def models(self) -> tuple[ModelName, ...]:
        """The models that have scores, the dense one first."""
        return NAMES if self.recovery else NAMES[:2]

    @property
    def newer(self) -> bool:
        """Whether a later version of the engine wrote it; it may have fields that are ignored."""
        return self.schema_version > SCHEMA_VERSION


def find(place: Path) -> Path:
    """The `report.json` of a path: the file itself, or the one in a checkpoint or working folder.

    Raises:
        ReportError: there is none.
    """
    if not place.is_dir():
        return place
    for name in PLACES:
        if (place / name).is_file():
            return place / name
    raise ReportError(
        f"{place} contains no {REPORT}",
        hint="name a published checkpoint, the working folder of a finished job, or a report.json",
    )


def read(place: Path) -> Document:
    """Read a report from a file, a checkpoint's folder or a working folder.

    Raises:
        ReportError: there is none, or it is not valid.
    """
    file = find(place)
    provenance = file.with_name(PROVENANCE)
    beside = _json(provenance) if provenance.is_file() else {}
    return of(_json(file), str(file), beside)


def of(content: Any, name: str, provenance: dict[str, Any] | None = None) -> Document:
    """A report from its JSON.

    Args:
        name: name for error messages.

    Raises:
        ReportError: the JSON is not a report of one model.
    """
    if isinstance(content, dict) and content.get("kind") == SWEEP:
        folders = [str(point.get("folder")) for point in content.get("points", [])[:3]]
        raise ReportError(
            f"{name} is the report of a sweep with several models",
            hint=f"name the folder of one model ({', '.join(folders)}), or use `slimgpt compare`",
        )
    document = validated(Document, content, name)
    return document.model_copy(update={"raw": content, "provenance": provenance or {}})


def content(place: Path) -> dict[str, Any]:
    """The JSON object of a report of either kind, from a file or a folder.

    Raises:
        ReportError: there is none.
    """
    return _json(find(place))


def validated(model: type[R], content: Any, name: str) -> R:
    """JSON validated as a model.

    Args:
        name: name for error messages.

    Raises:
        ReportError: the JSON is not valid.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise ReportError(
            f"{name} is not a report: {where}: {first['msg']}",
            hint="name a report.json that the engine has written",
        ) from error


def _json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ReportError(
            f"{file}: {error.strerror}", hint="name a checkpoint's folder or a report.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{file} is not JSON: {error}", hint="copy the file again") from error
    if not isinstance(content, dict):
        raise ReportError(f"{file} is not a JSON object", hint="copy the file again")
    return content
