"""Pydantic schema of `report.json`; `python -m slimgpt.report.schema` prints it as JSON schema.

Version 1 had neither `verdict` nor `recovery`. Fields may be added within a version; removing a
field or changing its meaning needs a new version.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from slimgpt import events
from slimgpt.planning.document import TokenCosts
from slimgpt.report.assessment import Assessment
from slimgpt.spec.prune import PruneSpec

SCHEMA_VERSION = 2
ITEMS: dict[str, type[BaseModel]] = {
    "inference": events.Latency,
    "layers": events.LayerFinished,
    "perplexity": events.Perplexity,
    "tasks": events.TaskScore,
    "verified": events.Verified,
}
"""Lists of the report whose items are events, stored unchanged."""


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

    `begins_with`: the tokens prepended to every sequence, as text; empty if there are none.
    """

    source: str
    samples: int
    sequence_length: int
    begins_with: str = ""
    seed: int
    documents_used: int
    sha256: str


class SampleText(BaseModel):
    """What each model wrote after the same beginning; None: it was not asked, or could not."""

    prompt: str
    dense: str | None = None
    pruned: str | None = None
    recovered: str | None = None


class SampleReport(BaseModel):
    """Sample texts, drawn from each model's distribution with the same random numbers.

    `source`: the text whose windows begin with the prompts.
    """

    source: str
    prompt_tokens: int
    new_tokens: int
    temperature: float
    seed: int
    texts: list[SampleText]


class RecoveryReport(BaseModel):
    """Training data and losses of a recovery. `curves` has the fields of `Loss`.

    Attributes:
        tokens: number of tokens with a label, in all sequences.
        left_out: the rows that were not used, as text.
        sha256: over token ids and labels.
        published: whether the recovered model was published.
        steps, batch_size: how many steps, and sequences in each.
        learning_rate: its highest value.
        probe: learning rates that were tried, with the held-out loss after a few steps; empty if it
            was given.
        seconds: of the attempt that finished, from loading the text to the last step.
        teacher_bytes: size of the teacher's probabilities on disk, which are removed at the end.
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


class EnvironmentReport(BaseModel):
    """What the numbers depend on besides model, text and specification.

    Attributes:
        versions: of Python and of the libraries that compute.
        cores: that the process may use: its affinity, and its container's quota.
        threads: that torch computes with on the processor.
        gpu: name of the device; None if the model was pruned on the processor.
        cuda: version of CUDA or ROCm.
    """

    versions: dict[str, str]
    system: str
    processor: str
    cores: int
    threads: int
    gpu: str | None = None
    gpu_memory_bytes: int | None = None
    cuda: str | None = None


class RepeatReport(BaseModel):
    """How to run the same again.

    Attributes:
        command: the command line, if it was one.
        body: for `POST /jobs`, or as a file for `slimgpt submit --spec`; the model is named with
            its revision.
    """

    command: str | None = None
    body: dict[str, Any]


UNKNOWN_SECONDS = {
    "verify": "counted until this report was written, which is part of it",
    "publish": "comes after this report: the service's record of the job has it, in `stages`",
}


class Report(BaseModel):
    """The results of a job.

    Attributes:
        verdict: summary in two sentences or three.
        assessment: what the numbers mean, what they are worth, and what to do.
        layers: the fields of `LayerFinished`, for every layer.
        recovery: None without recovery.
        perplexity: the fields of `Perplexity`, for every text and length.
        tasks: the fields of `TaskScore`, for every task, group and metric.
        inference: the fields of `Latency`, for every model and batch size.
        verified: the fields of `Verified`, for every loader.
        drift: relative squared error of the activations of `model` after each layer, `stream` and
            `ffn`, see `slimgpt.layers.drift`.
        samples: None if they were not requested.
        token_costs: KV cache and operations of one token; None in reports of older versions.
        seconds: duration of each stage in the attempt that finished, `start` from the command or
            the claim; of a sweep's model, what its own share took. What the report cannot know:
            `seconds_unknown`.
        seconds_unknown: stages whose time is not, or not wholly, in `seconds`, with the reason.
        stage_memory_bytes: peak memory of each stage from `resolve` to `evaluate`.
        peak_memory_bytes: GPU memory allocated, or resident memory of the engine on a CPU.
    """

    model_config = ConfigDict(frozen=True)

    verdict: str
    assessment: Assessment | None = None
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
    samples: SampleReport | None = None
    token_costs: TokenCosts | None = None
    seconds: dict[str, float]
    seconds_unknown: dict[str, str] = UNKNOWN_SECONDS
    stage_memory_bytes: dict[str, int] = {}
    device: str
    environment: EnvironmentReport | None = None
    repeat: RepeatReport | None = None
    peak_memory_bytes: int
    warnings: list[str]


class SweepPoint(BaseModel):
    """One model of a sweep.

    Attributes:
        folder: relative to the sweep's folder.
        report: the model's `report.json` (a `Report`), without the kept indices.
    """

    ratio: float
    folder: str
    report: dict[str, Any]


class SweepReport(BaseModel):
    """The results of a job with several models.

    Attributes:
        verdict: summary in one or two sentences.
        seconds: of each stage of the whole job, until this report was written.
        points: in the order of the requested ratios.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["sweep"] = "sweep"
    verdict: str
    schema_version: int = SCHEMA_VERSION
    engine_version: str
    spec: PruneSpec
    seconds: dict[str, float] = {}
    points: list[SweepPoint]


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    models: list[type[BaseModel]] = [Report, SweepReport, *ITEMS.values()]
    made = models_json_schema([(one, "serialization") for one in models])[1]
    definitions = made["$defs"]
    report = definitions["Report"]
    report["description"] = "The results of a job; readers ignore unknown fields."
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
    """The content of `docs/report-schema.json`."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
