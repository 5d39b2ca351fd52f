"""Prints a finished job: a table of its layers and the key numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console

from cli.terminal.layer_row import HEADER, layer_row
from slimgpt.events import LayerFinished

if TYPE_CHECKING:
    from slimgpt.client.models.jobs import Job, JobLayer


def show_outcome(console: Console, job: Job, layers: Sequence[JobLayer], options: str = "") -> None:
    """Print the job's layers, its warnings and, when it succeeded, what was gained and lost.

    Args:
        options: of the connection, for the command that downloads the result.
    """
    ratios = job.spec.get("ratios") or []
    for point, rows in groupby(layers, key=lambda layer: layer.point):
        if ratios:
            console.print(f"ratio {ratios[point]:g}", style="bold", highlight=False)
        console.print(HEADER, style="bold", soft_wrap=True)
        for layer in rows:
            console.print(layer_row(LayerFinished.model_validate(layer.raw)), soft_wrap=True)
    for warning in job.warnings:
        place = "" if warning.get("layer") is None else f"layer {warning['layer']}: "
        console.print(f"warning: {place}{warning['message']}", markup=False)
    result = job.result
    if job.status != "succeeded" or not result:
        return
    for made in result.get("points") or [result]:
        before, after = result["parameters_before"], made["parameters_after"]
        console.print(
            f"parameters {before:,} → {after:,} ({made['ratio_achieved']:.2%} removed)",
            highlight=False,
        )
    for measured in result.get("perplexity") or ():
        where = f"ratio {ratios[measured['point']]:g}, " if ratios else ""
        recovered = measured.get("recovered")
        more = "" if recovered is None else f", recovered {recovered:.2f}"
        console.print(
            f"{where}perplexity {measured['text']} ({measured['sequence_length']} tokens): "
            f"dense {measured['dense']:.2f}, pruned {measured['pruned']:.2f}{more}",
            markup=False,
            highlight=False,
        )
    if job.seconds is not None:
        stages = ", ".join(f"{name} {took:.1f}" for name, took in (job.stages or {}).items())
        console.print(f"took {job.seconds:.1f} s{stages and f' ({stages})'}", highlight=False)
    console.print(
        f"download   slimgpt download {job.id} DIR{options}", markup=False, highlight=False
    )
