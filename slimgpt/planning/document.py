"""`Outlook`: the plan of a job as a JSON document (`slimgpt plan`, `POST /plans`).

Imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slimgpt.events import Event, LayerOutlook, PlannedPoint, Ruling


class Outlook(Event):
    """The plan alone, of a job that is not run; sizes in bytes, memory estimated.

    Of a sweep it is the smallest model's, and `points` has what is left of each.

    `provisional`: the layers' shares are only decided during the run (schedule `global`).
    `formats` says what the models that are left can be written as, and `loaders` what their sizes
    mean to loaders; of a sweep, where it holds for all. `warnings`: why a job of this specification
    would fail, though its plan can be made.
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
    points: list[PlannedPoint] = Field([])
    formats: list[Ruling] = Field([])
    loaders: dict[str, str] = Field({})
    warnings: list[str] = Field([])
