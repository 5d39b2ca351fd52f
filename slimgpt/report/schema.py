"""Pydantic schema of `report.json`; `python -m slimgpt.report.schema` prints it as JSON schema.

Version 1 had neither `verdict` nor `recovery`. Fields are added within a version; a field that
changes its meaning or goes makes a new one.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from slimgpt import events
from slimgpt.spec.prune import PruneSpec

SCHEMA_VERSION = 2
ITEMS: dict[str, type[BaseModel]] = {
    "inference": events.Latency,
    "layers": events.LayerFinished,
    "perplexity": events.Perplexity,
    "tasks": events.TaskScore,
    "verified": events.Verified,
}
"""Lists of the report whose items are events: the report keeps them as they were said."""


class ModelReport(BaseModel):
    """The model that was pruned."""

    model: str
    revision: str | None
    licence: str | None
    parameters_before: int
    parameters_after: int
    ratio_achieved: float
    bytes_before: int
    bytes_after: int


class CalibrationReport(BaseModel):
    """The text that calibration used. `sha256` is over the token ids.

    `begins_with`: what every sequence begins with, as the tokenizer writes it; empty: nothing but
    the text.
    """

    source: str
    samples: int
    sequence_length: int
    begins_with: str = ""
    seed: int
    documents_used: int
    sha256: str


class RecoveryReport(BaseModel):
    """What recovery learned from, and how. `curves` holds what `Loss` says.

    Attributes:
        tokens: that are learned, of all sequences; the rest of them is read only.
        left_out: which rows were, in words.
        sha256: over ids and labels.
        published: whether the recovered model is what was published.
        learning_rate: the highest.
        probe: rates that were tried for it, with the held-out loss after a few steps; empty: given.
        seconds: of the attempt that finished, from loading the text to the last step.
        teacher_bytes: of what the teacher said, while it was needed.
    """

    source: str
    sequences: int
    tokens: int
    held_out: int
    left_out: str
    sha256: str
    trainable_parameters: int
    curves: list[dict[str, Any]]
    published: bool
    steps: int = 0
    batch_size: int = 0
    learning_rate: float = 0.0
    probe: list[dict[str, Any]] = []
    seconds: float = 0.0
    teacher_bytes: int = 0


class Report(BaseModel):
    """Everything a job says of its result.

    Attributes:
        verdict: what came of it, in a sentence or two.
        layers: of every layer what `LayerFinished` says.
        recovery: None where there was none.
        perplexity: what `Perplexity` says of each model, for every text and length.
        tasks: what `TaskScore` says, for every task, group and metric.
        inference: what `Latency` says, for every model and batch size.
        verified: what `Verified` says, for every loader.
        drift: how far the activations of `model` are from the dense one's after each layer:
            `stream` and `ffn`, see `slimgpt.layers.drift`.
        seconds: duration of the stages before `verify`, which the report is part of, in the attempt
            that finished.
        stage_memory_bytes: the peak of each of these stages.
        peak_memory_bytes: GPU memory allocated, or resident memory of the engine on a CPU.
    """

    model_config = ConfigDict(frozen=True)

    verdict: str
    schema_version: int = SCHEMA_VERSION
    engine_version: str
    model: ModelReport
    spec: PruneSpec
    calibration: CalibrationReport
    layers: list[dict[str, Any]]
    recovery: RecoveryReport | None = None
    perplexity: list[dict[str, Any]]
    tasks: list[dict[str, Any]] = []
    inference: list[dict[str, Any]] = []
    verified: list[dict[str, Any]]
    drift: list[dict[str, Any]] = []
    seconds: dict[str, float]
    stage_memory_bytes: dict[str, int] = {}
    device: str
    peak_memory_bytes: int
    warnings: list[str]


class SweepPoint(BaseModel):
    """One of a sweep's models.

    Attributes:
        folder: where it lies, below the sweep's folder.
        report: its own `report.json` (a `Report`), without the indices that were kept.
    """

    ratio: float
    folder: str
    report: dict[str, Any]


class SweepReport(BaseModel):
    """Everything that a job says that made several models.

    Attributes:
        verdict: what came of it, in a sentence or two.
        points: in the order in which they were asked for.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["sweep"] = "sweep"
    verdict: str
    schema_version: int = SCHEMA_VERSION
    engine_version: str
    spec: PruneSpec
    points: list[SweepPoint]


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    models: list[type[BaseModel]] = [Report, SweepReport, *ITEMS.values()]
    made = models_json_schema([(one, "serialization") for one in models])[1]
    definitions = made["$defs"]
    report = definitions["Report"]
    report["description"] = "What a job did and measured; readers pass over unknown fields."
    for name, model in ITEMS.items():
        report["properties"][name]["items"] = {"$ref": f"#/$defs/{model.__name__}"}
    definitions["SweepPoint"]["properties"]["report"] = {"$ref": "#/$defs/Report"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [{"$ref": "#/$defs/Report"}, {"$ref": "#/$defs/SweepReport"}],
        "title": f"SlimGPT Service report, version {SCHEMA_VERSION}",
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
