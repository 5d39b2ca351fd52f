"""The pipeline: runs a job's stages in order and yields their events.

Stages: start → resolve → plan → prune → recover (optional) → evaluate → verify. A sweep runs each
stage for all its models before the next stage. The working folder contains

    layers/       finished layers, from which an interrupted job resumes; of a sweep in p0/, p1/, …
    recovery-…/   the training snapshots and results of a recovery
    tasks/        the task scores so far
    checkpoint/   the result; it appears only after a fresh process has loaded it

An exception leaves the first three unchanged, and no `checkpoint/`.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from slimgpt.checkpoints.output import fingerprint
from slimgpt.checkpoints.output.partial import PartialCheckpoint
from slimgpt.errors import ResumeError
from slimgpt.events import (
    SURVEY,
    Event,
    LayerFinished,
    PointEvent,
    Progress,
    Stage,
    StageFinished,
    StageStarted,
    Warned,
)
from slimgpt.machine import memory, rank_processes, resource_errors
from slimgpt.machine.launch import Launch, asking_hub, opening_device
from slimgpt.planning.damage import Damage
from slimgpt.sources import hub_check
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec, point_folder
from slimgpt.stages import evaluate, formats, plan, prune, recover, resolve, result, tasks
from slimgpt.stages.state import ModelState
from slimgpt.stages.verify import publish

LAYERS = "layers"
POINTS = "points"
CHECKPOINT = "checkpoint"
T = TypeVar("T")
Work = Callable[[ModelState], Generator[Event, None, None]]


def run(
    spec: PruneSpec,
    workdir: Path,
    roots: Roots,
    device: str = "auto",
    resume: bool = False,
    keep_layers: bool = False,
    launch: Launch | None = None,
) -> Iterator[Event]:
    """Run a pruning job.

    Args:
        workdir: created if absent; the result is in its folder `checkpoint`, with one subfolder
            per model of a sweep.
        roots: folders of `local:` models and texts.
        device: cpu, cuda, cuda:N or auto; of a job on several devices neither of the GPUs alone.
        resume: continue from the layers that an interrupted run of the same job left in `workdir`;
            without it, `workdir` must not contain layers.
        keep_layers: keep the finished layers after the end, until the caller has published the
            result.
        launch: when and how the run was started, by a caller that has yielded the start of that
            stage; None: now.

    Yields:
        events; the last one is `Result`.

    Raises:
        SlimGPTError: any expected failure. Finished layers stay in `workdir`.
    """
    with resource_errors.expected(workdir):
        _check(workdir, resume)
        if launch is None:
            launch = Launch()
            yield StageStarted(stage="start")
        yield asking_hub()
        hub_check.require(spec)
        yield opening_device()
        with rank_processes.opened(device, spec.devices) as ranks:
            points = [ModelState(point, ranks, launch) for point in spec.points]
            job = _Job(spec, points, workdir)
            yield from job.stages(roots)
        if not keep_layers:  # the caller has the `Result`: a crash before this loses no layer
            job.discard()


class _Job:
    """The stages of one job; each of its models has its own `ModelState`."""

    def __init__(self, spec: PruneSpec, points: Sequence[ModelState], workdir: Path) -> None:
        self._spec = spec
        self._points = points
        self._workdir = workdir

    def stages(self, roots: Roots) -> Iterator[Event]:
        """Run all stages in order."""
        stages, points = Stages(self._points), self._points
        yield stages.started()
        resolving = resolve.resolve(self._spec, roots)
        inputs = yield from stages.shared("resolve", resolving)
        for point in points:
            point.inputs = inputs
            point.fingerprint = fingerprint.of(
                inputs.checkpoint, point.spec, inputs.calibration.sha256
            )
        yield from stages.each("plan", self._plan)
        yield result.planned(points)
        for number, point in enumerate(points):
            folder, mark = self._layers(number), point.fingerprint
            point.partial = PartialCheckpoint(folder, mark, inputs.checkpoint.architecture)
        if (damage := points[0].pruning_plan.damage) is not None:
            mark = points[0].fingerprint
            damage.model_copy(update={"job": mark}).save(self._workdir / LAYERS)
        yield from stages.each("prune", self._prune)
        if self._spec.recovery is not None:
            yield from stages.each("recover", self._recover)
        yield from stages.each("evaluate", self._evaluate)
        yield from stages.each("verify", self._publish)
        if self._sweeps:
            whole = self._workdir / CHECKPOINT
            seconds = stages.durations()
            result.publish_sweep(self._spec, points, seconds, self._workdir / POINTS, whole)
        yield result.result(points, stages.durations(), CHECKPOINT)

    def discard(self) -> None:
        """Remove everything that a resumed run would start from."""
        recover.discard(self._workdir)
        tasks.discard(self._workdir)
        shutil.rmtree(self._workdir / LAYERS)

    @property
    def _sweeps(self) -> bool:
        return self._spec.ratios is not None

    def _layers(self, number: int) -> Path:
        folder = self._workdir / LAYERS
        return folder / f"p{number}" if self._sweeps else folder

    def _plan(self, point: ModelState) -> Generator[Event, None, None]:
        if point is self._points[0]:
            yield from plan.try_models(point.inputs, point.device)
            damage = Damage.load(self._workdir / LAYERS, point.fingerprint)
        else:
            damage = self._points[0].pruning_plan.damage
        making = plan.make_plan(point.spec, point.inputs, point.ranks, damage)
        point.pruning_plan = yield from making
        formats.require(point.spec, point.inputs.checkpoint, point.plan.after)

    def _prune(self, point: ModelState) -> Generator[Event, None, None]:
        point.records = yield from prune.prune(
            point.spec, point.inputs, point.pruning_plan, point.partial, point.ranks
        )

    def _recover(self, point: ModelState) -> Generator[Event, None, None]:
        point.recovery = yield from recover.recover(
            point.spec, point.inputs, point.plan, point.partial, self._workdir, point.device
        )

    def _evaluate(self, point: ModelState) -> Generator[Event, None, None]:
        yield from evaluate.measure(point, self._workdir, self._points[0])

    def _publish(self, point: ModelState) -> Generator[Event, None, None]:
        destination = self._workdir / CHECKPOINT
        if self._sweeps:
            assert point.spec.ratio is not None
            destination = self._workdir / POINTS / point_folder(point.spec.ratio)
        stack, chosen = point.models["pruned"], point.partial
        if point.recovery is not None and point.verdict.recovered:
            stack, chosen = point.models["recovered"], point.recovery.partial
        yield from publish(point, chosen, stack, destination)


def _check(workdir: Path, resume: bool) -> None:
    """Refuse a working folder with earlier work, or on resume remove its unreported result."""
    checkpoint, layers = workdir / CHECKPOINT, workdir / LAYERS
    if resume:
        for folder in (
            checkpoint,
            workdir / POINTS,
        ):  # its `Result` was never received
            shutil.rmtree(folder, ignore_errors=True)
    elif checkpoint.exists() or layers.exists():
        raise ResumeError(
            f"{workdir} contains the layers or the result of an earlier run",
            hint="resume it, choose another working folder, or remove this one",
        )


class Stages:
    """Runs the stages of a job for all its models.

    Args:
        points: the state of each model; a single one unless the job is a sweep.
    """

    def __init__(self, points: Sequence[ModelState]) -> None:
        self._points = points
        self._began: dict[Stage, float] = {"start": points[0].launch.began}

    def started(self) -> StageFinished:
        """End the stage `start`, which began before this process did."""
        seconds = time.time() - self._began["start"]
        for point in self._points:
            point.seconds["start"] = seconds
        return StageFinished(stage="start", seconds=seconds)

    def durations(self) -> dict[str, float]:
        """Seconds of each stage so far, from its start to that of the next; the last until now."""
        moments = [*self._began.values(), time.time()]
        spans = (end - begin for begin, end in itertools.pairwise(moments))
        return dict(zip(self._began, spans, strict=True))

    def shared(self, stage: Stage, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        """Run a stage once for all models; returns the return value of `work`."""
        yield StageStarted(stage=stage)
        self._began[stage] = time.time()
        began = time.monotonic()
        memory.forget_peak(self._points[0].device)
        result = yield from self._collect_warnings(work, self._points)
        self._record_cost(stage, time.monotonic() - began, self._points)
        yield StageFinished(stage=stage, seconds=time.monotonic() - began)
        return result

    def each(self, stage: Stage, work: Work) -> Iterator[Event]:
        """Run a stage for one model after the other."""
        yield StageStarted(stage=stage)
        self._began[stage] = time.time()
        began = time.monotonic()
        for number, point in enumerate(self._points):
            since = time.monotonic()
            memory.forget_peak(point.device)
            for event in self._collect_warnings(work(point), [point]):
                yield self._as_job_event(event, number)
            self._record_cost(stage, time.monotonic() - since, [point])
        yield StageFinished(stage=stage, seconds=time.monotonic() - began)

    def _collect_warnings(
        self, work: Generator[Event, None, T], points: Sequence[ModelState]
    ) -> Generator[Event, None, T]:
        """Yield the events of `work`, and collect its warnings for the reports."""
        while True:
            try:
                event = next(work)
            except StopIteration as finished:
                result: T = finished.value
                return result
            if isinstance(event, Warned):
                place = "" if event.layer is None else f"layer {event.layer}: "
                for point in points:
                    point.warnings.append(place + event.message)
            yield event

    def _record_cost(self, stage: Stage, seconds: float, points: Sequence[ModelState]) -> None:
        for point in points:
            point.seconds[stage] = seconds
            point.peaks[stage] = memory.peak_bytes(point.device)

    def _is_of_all(self, event: Event) -> bool:
        """Whether it tells of the survey of which all models of a sweep are planned."""
        measured = self._points[0].spec.schedule.shape == "measured"
        return measured and isinstance(event, Progress) and event.what == SURVEY

    def _as_job_event(self, event: Event, number: int) -> Event:
        """Convert an event of one model to an event of the job."""
        count = len(self._points)
        if count == 1 or self._is_of_all(event):
            return event
        target = self._points[number].spec.target
        match event:
            case Progress():
                what = f"{target}, {event.what}" if event.what else target
                done, total = number * event.total + event.done, count * event.total
                return event.model_copy(update={"done": done, "total": total, "what": what})
            case Warned():
                return event.model_copy(update={"message": f"{target}: {event.message}"})
            case LayerFinished():
                total = event.layers_total * count
                place = {"point": number, "points": count, "layers_total": total}
                return event.model_copy(update=place)
            case PointEvent():
                return event.model_copy(update={"point": number})
        return event
