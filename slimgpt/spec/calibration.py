"""`CalibrationSpec`: the text that a job calibrates on.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from slimgpt.spec.names import BOS, Bos, Spec, text_source


class CalibrationSpec(Spec):
    """Where calibration text comes from and how much of it."""

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
