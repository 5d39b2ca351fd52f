"""The `planned` and `result` events, and the result folder of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slimgpt
from slimgpt.events import Planned, PointEvent, Result, ResultPoint
from slimgpt.machine import disk
from slimgpt.planning.document import planned_point
from slimgpt.report import assessment
from slimgpt.report import folder as pages
from slimgpt.report.document import REPORT
from slimgpt.report.schema import SweepPoint, SweepReport
from slimgpt.spec.planned_sizes import PlannedPoint
from slimgpt.spec.prune import PruneSpec, point_folder
from slimgpt.stages.state import ModelState

KEPT = frozenset({"kept_heads", "kept_kv_heads", "kept_channels"})


def planned(points: Sequence[ModelState]) -> Planned:
    """The plan of all models."""
    smallest = _smallest(points).plan
    return Planned(
        parameters_before=smallest.parameters_before,
        parameters_after=smallest.parameters_after,
        ratio_achieved=smallest.ratio_achieved,
        layers=sum(len(point.plan.after) for point in points),
        channel_multiple=smallest.channel_multiple,
        points=[_planned_point(point, point.spec.ratio) for point in points if len(points) > 1],
    )


def result(points: Sequence[ModelState], seconds: Mapping[str, float], checkpoint: str) -> Result:
    """The `result` event of the job.

    Args:
        seconds: of each stage.
        checkpoint: the result's folder, relative to the working folder.
    """
    smallest = _smallest(points)
    sweep = [point for point in points if len(points) > 1]
    return Result(
        parameters_before=smallest.plan.parameters_before,
        parameters_after=smallest.plan.parameters_after,
        ratio_achieved=smallest.plan.ratio_achieved,
        published=smallest.published,
        verdict=_verdict(points) if sweep else smallest.verdict.line,
        assessment=smallest.verdict.assessment.model_dump(),
        seconds=sum(seconds.values()),
        stages=dict(seconds),
        peak_memory_bytes=max(max(point.peaks.values()) for point in points),
        layers=[
            {"point": number, **record}
            for number, point in enumerate(points)
            for record in point.records
        ],
        perplexity=_event_fields([point.perplexity for point in points]),
        tasks=_event_fields([point.tasks for point in points]),
        verified=_event_fields([point.verified for point in points]),
        points=[_result_point(point, point.spec.ratio) for point in sweep],
        checkpoint=checkpoint,
    )


def publish_sweep(
    spec: PruneSpec,
    points: Sequence[ModelState],
    seconds: Mapping[str, float],
    folder: Path,
    destination: Path,
) -> None:
    """Write the sweep's report and page beside its models, then rename the folder.

    Args:
        seconds: of each stage of the job so far.
        folder: contains the models, each in `point_folder` of its ratio.
        destination: on the same disk; must not exist.

    Raises:
        StorageError: the disk is full.
    """
    report = SweepReport(
        verdict=_verdict(points),
        engine_version=slimgpt.__version__,
        spec=spec,
        seconds=dict(seconds),
        points=[
            SweepPoint(ratio=ratio, folder=name, report=_report(folder / name))
            for ratio, name in ((ratio, point_folder(ratio)) for ratio in spec.ratios or ())
        ],
    )
    disk.write_text(folder / REPORT, report.model_dump_json(indent=2) + "\n")
    pages.write_sweep(folder)
    with disk.storage_errors(destination, 0):
        folder.rename(destination)
        disk.sync(destination.parent)


def _smallest(points: Sequence[ModelState]) -> ModelState:
    return min(points, key=lambda point: point.plan.parameters_after)


def _planned_point(point: ModelState, ratio: float | None) -> PlannedPoint:
    assert ratio is not None
    checkpoint = point.inputs.checkpoint
    bytes_after = point.plan.parameters_after * checkpoint.bytes / checkpoint.parameters
    return planned_point(ratio, point.plan, round(bytes_after))


def _result_point(point: ModelState, ratio: float | None) -> ResultPoint:
    assert ratio is not None
    return ResultPoint(
        ratio=ratio,
        folder=point_folder(ratio),
        parameters_after=point.plan.parameters_after,
        ratio_achieved=point.plan.ratio_achieved,
        verdict=point.verdict.line,
        assessment=point.verdict.assessment.model_dump(),
        published=point.published,
        perplexity=point.perplexity[0].model_dump() if point.perplexity else None,
    )


def _event_fields(events: Sequence[Sequence[PointEvent]]) -> list[dict[str, Any]]:
    """The fields of the events of every model, each with its model's number."""
    return [
        one.model_dump() | {"point": number} for number, some in enumerate(events) for one in some
    ]


def _report(folder: Path) -> dict[str, Any]:
    """A model's report without the kept indices, which stay in its own folder."""
    report: dict[str, Any] = json.loads((folder / REPORT).read_bytes())
    layers = report["layers"]
    report["layers"] = [{k: v for k, v in layer.items() if k not in KEPT} for layer in layers]
    return report


def _verdict(points: Sequence[ModelState]) -> str:
    """The summary of the sweep, in a few sentences."""
    worse = [f"{point.spec.ratio:g}" for point in points if point.verdict.worse]
    line = f"Recovery made it worse at ratio {', '.join(worse)}. " if worse else ""
    if not all(point.verdict.judged for point in points):
        line += "Recovery was not judged, for nothing was held out. "
    line += f"{len(points)} models: "
    line += ", ".join(f"{point.plan.ratio_achieved:.1%}" for point in points)
    line += " of the parameters removed."
    if not points[0].perplexity:
        return line
    first = points[0].perplexity[0]
    values = [
        (
            getattr(one, point.published),
            assessment.loss_of(getattr(one, point.published) / one.dense),
        )
        for point in points
        for one in point.perplexity[:1]
    ]
    where = f"{first.text} at {first.window}"
    pruned = ", ".join(f"{value:.4g} ({assessment.WORDS[loss]})" for value, loss in values)
    return f"{line} Perplexity on {where}: dense {first.dense:.4g}, then {pruned}."
