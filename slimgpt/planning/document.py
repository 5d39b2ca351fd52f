"""`PlanPreview`: the plan of a job as a JSON document (`slimgpt plan`, `POST /plans`).

Imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from slimgpt.events import Event, FormatSupport, PlannedLayer, PlannedPoint

if TYPE_CHECKING:
    from slimgpt.planning.plan import Plan


class PlanPreview(Event):
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
    layers: list[PlannedLayer]
    points: list[PlannedPoint] = Field([])
    formats: list[FormatSupport] = Field([])
    loaders: dict[str, str] = Field({})
    warnings: list[str] = Field([])


def planned_point(ratio: float, plan: Plan, bytes_after: int) -> PlannedPoint:
    """What is left of a sweep's model."""
    return PlannedPoint(
        ratio=ratio,
        parameters_after=plan.parameters_after,
        bytes_after=bytes_after,
        ratio_achieved=plan.ratio_achieved,
        channel_multiple=plan.channel_multiple,
    )


def planned_layer(plan: Plan, index: int, parameters: tuple[int, int]) -> PlannedLayer:
    """What is left of a layer, whose parameters are given before and after."""
    before, after = plan.before[index], plan.after[index]
    return PlannedLayer(
        layer=index,
        heads_before=before.heads,
        heads=after.heads,
        kv_heads_before=before.kv_heads,
        kv_heads=after.kv_heads,
        channels_before=before.channels,
        channels=after.channels,
        parameters_before=parameters[0],
        parameters=parameters[1],
    )
