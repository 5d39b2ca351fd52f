"""`PlanPreview`, `ModelList`: the plan of a job, and the models below a root, as JSON documents.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from slimgpt.events import Event
from slimgpt.spec.planned_sizes import FormatSupport, PlannedLayer, PlannedPoint

if TYPE_CHECKING:
    from slimgpt.planning.plan import Plan


class TokenCosts(BaseModel):
    """What one generated token costs, dense and pruned.

    Attributes:
        cache_bytes_before, cache_bytes_after: keys and values that the token adds to the KV cache,
            in the checkpoint's precision.
        operations_before, operations_after: floating-point operations of the products with weight
            matrices: two per parameter, of experts those that one token is routed to. Without
            attention over the context, which grows with its length.
    """

    cache_bytes_before: int
    cache_bytes_after: int
    operations_before: int
    operations_after: int


class FoundModel(BaseModel):
    """A model folder below the models root; sizes are None if it cannot be read.

    `prunable`: whether its config and headers can be pruned; if not, `reason` says why.
    `pruned`: whether its layers differ in size.
    """

    model: str = Field(examples=["local:demo"])
    family: str | None = None
    parameters: int | None = None
    bytes: int | None = None
    layers: int | None = None
    positions: int | None = None
    dtype: str | None = None
    prunable: bool = False
    pruned: bool = False
    reason: str = ""


class ModelList(Event):
    """Descriptions of model folders, some of those asked for; their order is kept."""

    type: Literal["models"] = "models"
    items: list[FoundModel]


class PlanPreview(Event):
    """The plan of a job that is not run; sizes in bytes, memory estimated.

    For a sweep it is the plan of the smallest model, and `points` has the size of each model.

    `provisional`: the layers' ratios are decided during the run (schedules `global`, `measured`).
    `formats`: the output formats that the pruned model can be written in; `loaders`: what its sizes
    mean for loaders; for a sweep, both hold for all models. `warnings`: reasons why a job of this
    specification would fail although it can be planned. `without_weights`: its models of which
    there is a config only; such a job is refused.
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
    token_costs: TokenCosts | None = None
    warnings: list[str] = Field([])
    without_weights: list[str] = Field([])


def planned_point(ratio: float, plan: Plan, bytes_after: int) -> PlannedPoint:
    """The size of one model of a sweep."""
    return PlannedPoint(
        ratio=ratio,
        parameters_after=plan.parameters_after,
        bytes_after=bytes_after,
        ratio_achieved=plan.ratio_achieved,
        channel_multiple=plan.channel_multiple,
    )


def planned_layer(plan: Plan, index: int, parameters: tuple[int, int]) -> PlannedLayer:
    """The sizes of a layer before and after pruning.

    Args:
        parameters: parameter counts (before, after).
    """
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
