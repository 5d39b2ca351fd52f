"""`slimgpt plan`: sizes and costs of a pruning job, from file headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.text import Text

from cli.options.groups import option, option_names
from cli.options.job import PlanOptions
from cli.options.model_names import locate_model
from cli.options.shared import Json, Model
from cli.options.specification import make_spec
from cli.terminal.event_output import event_output
from cli.terminal.exit_status import report_failure
from cli.terminal.layer_row import PLAN_HEADER, aligned, sizes
from cli.terminal.summary import show_facts
from slimgpt.planning.document import PlanPreview
from slimgpt.spec.planned_sizes import FormatSupport
from slimgpt.spec.sizes import short_size

Curves = Annotated[
    Path | None,
    option(
        "--curves",
        "damage.json that a job with schedule measured has published: plans any target as such a "
        "job would, without measuring again.",
    ),
]


def plan(
    model: Model, *, options: PlanOptions, curves: Curves = None, as_json: Json = False
) -> None:
    """Show what pruning would leave of each layer, and its cost.

    MODEL's configuration and headers are read, its weights are not.

    \b
    Example:
      slimgpt plan examples/model --ratio 0.3
    """
    console = Console()
    with event_output(console, as_json=as_json) as output, report_failure(output):
        place = locate_model(model)
        fields = {"recipe": "measured"} if curves else {}
        fields |= {"model": place.name, **options.fields()}
        spec = make_spec(fields, option_names(PlanOptions))
        from slimgpt.planning.damage import Damage
        from slimgpt.planning.preview import plan_preview
        from slimgpt.sources.roots import Roots
        from slimgpt.verification import sanity

        roots = Roots(place.root, place.root, confined=False)
        damage = Damage.read(curves) if curves else None
        preview = plan_preview(spec, roots, sanity.build, damage)
        if as_json:
            output.show(preview)
        else:
            _print(console, preview)


def _format(support: FormatSupport) -> str:
    return (
        support.format if support.possible else f"{support.format}: not possible, {support.reason}"
    )


def _print(console: Console, preview: PlanPreview) -> None:
    if preview.points:
        ratio = max(point.ratio for point in preview.points)
        console.print(f"the layers of the smallest model, ratio {ratio:g}", highlight=False)
    console.print(Text(PLAN_HEADER, style="bold"), soft_wrap=True)
    for row in preview.layers:
        removed = f"{1 - row.parameters / row.parameters_before:.1%}"
        console.print(Text(aligned(*sizes(row), removed)), soft_wrap=True)
    facts = (
        (
            "parameters",
            f"{preview.parameters_before:,} → {preview.parameters_after:,} "
            f"({preview.ratio_achieved:.2%} removed)",
        ),
        ("on disk", f"{short_size(preview.bytes_before)} → {short_size(preview.bytes_after)}"),
        (
            "memory",
            f"about {short_size(preview.peak_memory_bytes)} on the device beyond the runtime's "
            f"own, {short_size(preview.activation_bytes)} of activations in host memory",
        ),
        ("FFN widths", f"multiples of {preview.channel_multiple}"),
        *(("format", _format(one)) for one in preview.formats),
        *(("loaders", what) for what in preview.loaders.values()),
    )
    show_facts(console, facts)
    for point in preview.points:
        left = f"{point.parameters_after:,} parameters ({point.ratio_achieved:.2%} removed)"
        each = f"{left}, {short_size(point.bytes_after)}"
        show_facts(console, [(f"ratio {point.ratio:g}", each)])
    if preview.provisional:
        console.print(
            "the method sets the layers' ratios during the run: these sizes are estimates"
        )
    for warning in preview.warnings:
        text = Text(f"warning: {warning}", style="yellow")
        console.print(text, soft_wrap=True, highlight=False)
