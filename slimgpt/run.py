"""A job from specification to checkpoint, as an iterator of events.

Stages: resolve → plan → prune → evaluate → verify. The working folder holds

    layers/      finished layers, from which an interrupted job goes on
    checkpoint/  the result; it appears only when a fresh process has loaded it

and every exception leaves `layers/` as it was and no `checkpoint/`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from slimgpt import evaluation, failures, intake, memory, precision, pruning
from slimgpt.checkpoints import fingerprint
from slimgpt.checkpoints.shards import PartialCheckpoint
from slimgpt.config import PruneSpec
from slimgpt.errors import ResumeError
from slimgpt.events import Event, Result, Stage, StageFinished, StageStarted, Warned
from slimgpt.layers.stack import Stack
from slimgpt.origins.roots import Roots
from slimgpt.publication import Findings, publish

T = TypeVar("T")
LAYERS = "layers"
CHECKPOINT = "checkpoint"


def run(
    spec: PruneSpec,
    workdir: Path,
    roots: Roots,
    device: str = "auto",
    resume: bool = False,
) -> Iterator[Event]:
    """Run a pruning job.

    Args:
        workdir: made if absent; the result is in its folder `checkpoint`.
        roots: where `local:` models and texts lie.
        device: cpu, cuda, cuda:N or auto.
        resume: go on from the layers that an interrupted run of the same job left in `workdir`;
            without it they must not be there.

    Yields:
        events; the last one is `Result`.

    Raises:
        SlimGPTError: any expected failure. Finished layers stay in `workdir`.
    """
    with failures.expected(workdir):
        _check(workdir, resume)
        chosen = precision.device_for(device)
        findings = Findings(spec, chosen)
        for event in _stages(findings, workdir, roots):
            if isinstance(event, Warned):
                place = "" if event.layer is None else f"layer {event.layer}: "
                findings.warnings.append(place + event.message)
            yield event


def _stages(findings: Findings, workdir: Path, roots: Roots) -> Iterator[Event]:
    spec, device = findings.spec, findings.device
    taken = yield from _stage("resolve", intake.take_in(spec, roots), findings)
    findings.intake = taken
    decided = yield from _stage("plan", pruning.decide(spec, taken, device), findings)
    findings.plan = decided.plan
    mark = fingerprint.of(taken.checkpoint, spec, taken.calibration.sha256)
    partial = PartialCheckpoint(workdir / LAYERS, mark, taken.checkpoint.architecture)
    pruned = pruning.prune(spec, taken, decided, partial, device)
    findings.records = yield from _stage("prune", pruned, findings)
    stack = pruning.pruned_stack(taken.checkpoint, decided.plan, partial, device)
    measured = evaluation.evaluate(taken.exams, Stack(taken.checkpoint, device), stack)
    findings.perplexity = yield from _stage("evaluate", measured, findings)
    written = publish(findings, partial, stack, workdir / CHECKPOINT)
    yield from _stage("verify", written, findings)
    yield _result(findings)
    partial.discard()  # after the caller has heard of the result: a crash before loses no layer


def _result(findings: Findings) -> Result:
    return Result(
        parameters_before=findings.plan.parameters_before,
        parameters_after=findings.plan.parameters_after,
        ratio_achieved=findings.plan.ratio_achieved,
        seconds=(datetime.now(UTC) - findings.started).total_seconds(),
        peak_memory_bytes=memory.peak_bytes(findings.device),
        layers=findings.records,
        perplexity=[one.model_dump() for one in findings.perplexity],
        verified=[one.model_dump() for one in findings.verified],
        checkpoint=CHECKPOINT,
    )


def _stage(
    stage: Stage, work: Generator[Event, None, T], findings: Findings
) -> Generator[Event, None, T]:
    yield StageStarted(stage=stage)
    began = time.monotonic()
    result = yield from work
    findings.seconds[stage] = time.monotonic() - began
    yield StageFinished(stage=stage, seconds=findings.seconds[stage])
    return result


def _check(workdir: Path, resume: bool) -> None:
    """Refuse a working folder in use, unless it is to be resumed; clear an older result then."""
    checkpoint, layers = workdir / CHECKPOINT, workdir / LAYERS
    if resume:
        shutil.rmtree(checkpoint, ignore_errors=True)  # whole, but nobody was told of it
    elif checkpoint.exists() or layers.exists():
        raise ResumeError(
            f"{workdir} holds the work of an earlier run",
            hint="resume it, choose another working folder, or remove this one",
        )
