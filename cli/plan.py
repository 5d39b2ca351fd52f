"""`slimgpt plan`: what pruning would leave and cost, from the headers of the files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from cli import options
from cli.client import Json
from cli.display import display_on
from cli.ending import ending
from cli.layer_row import PLAN_HEADER, aligned, sizes
from cli.options import DEFAULTS
from cli.specification import Place, make_spec, model_place, schedule_fields
from cli.summary import show_facts, size
from slimgpt.config import PruneSpec
from slimgpt.events import Event

if TYPE_CHECKING:
    from slimgpt.planning.forecast import Forecast

CALIBRATION = DEFAULTS.calibration


def plan(  # noqa: PLR0913 - one parameter an option
    model: options.Model,
    *,
    ratio: options.Ratio,
    schedule: options.Schedule = None,
    first_ratio: options.FirstRatio = None,
    last_ratio: options.LastRatio = None,
    method: options.PruningMethod = DEFAULTS.method,
    head_unit: options.Unit = DEFAULTS.head_unit,
    channel_multiple: options.ChannelMultiple = None,
    samples: options.Samples = CALIBRATION.samples,
    seq_len: options.SequenceLength = CALIBRATION.sequence_length,
    as_json: Json = False,
) -> None:
    """Say what pruning MODEL would leave of every layer, and cost, without reading weights."""
    console = Console()
    with display_on(console, as_json=as_json) as display, ending(display):
        place = model_place(model)
        ends = {"first_ratio": first_ratio, "last_ratio": last_ratio}
        spec = make_spec(
            {
                "model": place.name,
                "ratio": ratio,
                "method": method,
                "schedule": schedule_fields(schedule, method, ends),
                "calibration": {"samples": samples, "sequence_length": seq_len},
                "head_unit": head_unit,
                "channel_multiple": channel_multiple,
            }
        )
        outlook = look_ahead(spec, place)
        if as_json:
            display.show(outlook)
        else:
            _print(console, outlook)


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
    """The answer of `slimgpt plan`; sizes in bytes, the device's and the host's memory estimated.

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


def look_ahead(spec: PruneSpec, place: Place) -> Outlook:
    """Plan a job; reads headers only and imports no torch.

    Raises:
        SlimGPTError: the model cannot be pruned, or not so far.
    """
    from slimgpt.checkpoints.checkpoint import Checkpoint
    from slimgpt.origins.resolve import resolve_model
    from slimgpt.origins.roots import Roots
    from slimgpt.planning import forecast

    model = resolve_model(spec.model, Roots(place.root, place.root, confined=False), None)
    made = forecast.make(Checkpoint.open(model.folder), spec)
    return Outlook(
        parameters_before=made.plan.parameters_before,
        parameters_after=made.plan.parameters_after,
        ratio_achieved=made.plan.ratio_achieved,
        channel_multiple=made.plan.channel_multiple,
        bytes_before=made.bytes_before,
        bytes_after=made.bytes_after,
        peak_memory_bytes=made.peak_memory_bytes,
        activation_bytes=made.activation_bytes,
        provisional=made.provisional,
        layers=_layers(made),
    )


def _layers(made: Forecast) -> list[LayerOutlook]:
    rows = zip(made.plan.before, made.plan.after, made.layer_parameters, strict=True)
    return [
        LayerOutlook(
            layer=index,
            heads_before=before.heads,
            heads=after.heads,
            kv_heads_before=before.kv_heads,
            kv_heads=after.kv_heads,
            channels_before=before.channels,
            channels=after.channels,
            parameters_before=parameters_before,
            parameters=parameters,
        )
        for index, (before, after, (parameters_before, parameters)) in enumerate(rows)
    ]


def _print(console: Console, outlook: Outlook) -> None:
    console.print(Text(PLAN_HEADER, style="bold"), soft_wrap=True)
    for row in outlook.layers:
        removed = f"{1 - row.parameters / row.parameters_before:.1%}"
        console.print(Text(aligned(*sizes(row), removed)), soft_wrap=True)
    facts = (
        (
            "parameters",
            f"{outlook.parameters_before:,} → {outlook.parameters_after:,} "
            f"({outlook.ratio_achieved:.2%} removed)",
        ),
        ("on disk", f"{size(outlook.bytes_before)} → {size(outlook.bytes_after)}"),
        (
            "memory",
            f"about {size(outlook.peak_memory_bytes)} on the device beyond the runtime's own, "
            f"{size(outlook.activation_bytes)} of activations in host memory",
        ),
        ("FFN widths", f"multiples of {outlook.channel_multiple}"),
    )
    show_facts(console, facts)
    if outlook.provisional:
        console.print("the method decides the layers' shares during the run: this is a guess")
