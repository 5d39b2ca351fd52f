"""`slimgpt plan`: what pruning would leave and cost, from the headers of the files alone."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from cli.options import shared
from cli.options.shared import DEFAULTS, Json
from cli.options.specification import make_spec, model_place, schedule_fields
from cli.terminal.display import display_on
from cli.terminal.exit_status import ending
from cli.terminal.layer_row import PLAN_HEADER, aligned, sizes
from cli.terminal.summary import show_facts, size
from slimgpt.events import Ruling
from slimgpt.planning.document import Outlook

CALIBRATION = DEFAULTS.calibration


def plan(  # noqa: PLR0913 - one parameter an option
    model: shared.Model,
    *,
    ratio: shared.Ratios = None,
    parameters: shared.Parameters = None,
    memory: shared.Memory = None,
    schedule: shared.Schedule = None,
    first_ratio: shared.FirstRatio = None,
    last_ratio: shared.LastRatio = None,
    method: shared.PruningMethod = DEFAULTS.method,
    head_unit: shared.Unit = DEFAULTS.head_unit,
    channel_multiple: shared.ChannelMultiple = None,
    tensor_parallel: shared.TensorParallel = None,
    formats: shared.Formats = None,
    gguf_type: shared.GgufPrecision = None,
    samples: shared.Samples = CALIBRATION.samples,
    seq_len: shared.SequenceLength = CALIBRATION.sequence_length,
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
                **shared.targets(ratio),
                "parameters": parameters,
                "memory": memory,
                "method": method,
                "schedule": schedule_fields(schedule, method, ends),
                "calibration": {"samples": samples, "sequence_length": seq_len},
                "head_unit": head_unit,
                "channel_multiple": channel_multiple,
                **shared.loading(formats, gguf_type, tensor_parallel),
            }
        )
        from slimgpt.origins.roots import Roots
        from slimgpt.stages.preview import look_ahead

        roots = Roots(place.root, place.root, confined=False)
        outlook = look_ahead(spec, roots, build=True)
        if as_json:
            display.show(outlook)
        else:
            _print(console, outlook)


def _format(ruling: Ruling) -> str:
    return ruling.format if ruling.possible else f"{ruling.format}: not possible, {ruling.reason}"


def _print(console: Console, outlook: Outlook) -> None:
    if outlook.points:
        ratio = max(point.ratio for point in outlook.points)
        console.print(f"the layers of the smallest model, ratio {ratio:g}", highlight=False)
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
        *(("format", _format(one)) for one in outlook.formats),
        *(("loaders", what) for what in outlook.loaders.values()),
    )
    show_facts(console, facts)
    for point in outlook.points:
        left = f"{point.parameters_after:,} parameters ({point.ratio_achieved:.2%} removed)"
        show_facts(console, [(f"ratio {point.ratio:g}", f"{left}, {size(point.bytes_after)}")])
    if outlook.provisional:
        console.print("the method decides the layers' shares during the run: this is a guess")
    for warning in outlook.warnings:
        text = Text(f"warning: {warning}", style="yellow")
        console.print(text, soft_wrap=True, highlight=False)
