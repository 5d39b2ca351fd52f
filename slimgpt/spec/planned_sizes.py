"""Sizes of a planned model: its layers, the models of a sweep, the formats that can hold it.

They are fields of events; this module imports neither torch nor transformers.
"""

from __future__ import annotations

from pydantic import BaseModel

from slimgpt.spec.names import Format


class PlannedPoint(BaseModel):
    """Planned size of one model of a sweep."""

    ratio: float
    parameters_after: int
    bytes_after: int
    ratio_achieved: float
    channel_multiple: int


class FormatSupport(BaseModel):
    """Whether the pruned model can be written in a format; if not, `reason` says why."""

    format: Format
    possible: bool
    reason: str = ""


class PlannedLayer(BaseModel):
    """Size of one decoder layer before and after pruning."""

    layer: int
    heads_before: int
    heads: int
    kv_heads_before: int
    kv_heads: int
    channels_before: int
    channels: int
    parameters_before: int
    parameters: int
