"""`report.json`: what a job did and measured, for people and programs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from slimgpt.config import PruneSpec

SCHEMA_VERSION = 1


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
    """The text that calibration used. `sha256` is over the token ids."""

    source: str
    samples: int
    sequence_length: int
    seed: int
    documents_used: int
    sha256: str


class Report(BaseModel):
    """Everything a job says of its result.

    Attributes:
        layers: of every layer what `LayerFinished` says.
        perplexity: what `Perplexity` says, dense and pruned, for every text and length.
        verified: what `Verified` says, for every loader.
        seconds: duration of the stages before `verify`, which the report is part of, in the attempt
            that finished.
        peak_memory_bytes: GPU memory allocated, or resident memory of the engine on a CPU.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    engine_version: str
    model: ModelReport
    spec: PruneSpec
    calibration: CalibrationReport
    layers: list[dict[str, Any]]
    perplexity: list[dict[str, Any]]
    verified: list[dict[str, Any]]
    seconds: dict[str, float]
    device: str
    peak_memory_bytes: int
    warnings: list[str]
