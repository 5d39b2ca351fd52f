"""The `evaluate` stage: everything that the evaluation asks for, of all models, and the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from slimgpt.checkpoints.output import whole_model
from slimgpt.events import Event, ModelName, Warned
from slimgpt.layers import drift
from slimgpt.proof import timing
from slimgpt.report import verdict
from slimgpt.stages import perplexity, tasks
from slimgpt.stages.state import Findings

WHOLE = "whole"


def measure(findings: Findings, workdir: Path, first: Findings) -> Generator[Event, None, None]:
    """Measure the models, and decide what is published; say so where recovery made it worse.

    Args:
        first: of the sweep's models, whose measures of the dense one are taken over; `findings`
            itself where it is the first.
    """
    models, taken = findings.models, findings.intake
    findings.perplexity = yield from perplexity.evaluate(taken.exams, models, first.perplexity)
    for name in [name for name in models if name != "dense"]:
        for one in drift.measure(models["dense"], models[name], taken.calibration.input_ids):
            findings.drift.append({"model": name, **asdict(one)})
    yield from _measure_whole(findings, workdir, first)
    curves = None if findings.recovery is None else findings.recovery.curves
    findings.verdict = verdict.of(findings.spec, findings.plan, findings.perplexity, curves)
    if findings.verdict.worse:
        yield Warned(message=findings.verdict.line)


def _measure_whole(
    findings: Findings, workdir: Path, first: Findings
) -> Generator[Event, None, None]:
    """What takes whole models: tasks and timing."""
    wanted, quizzes = findings.spec.evaluation.inference, findings.intake.quizzes
    if wanted is None and not quizzes:
        return
    with _whole_models(findings, workdir / WHOLE) as folders:
        if quizzes:
            candidates = _candidates(findings, folders, first)
            asking = tasks.examine(quizzes, candidates, workdir, findings.device)
            findings.tasks = yield from asking
        if wanted is not None:
            findings.inference = yield from timing.measure(wanted, folders, findings.device)


def _candidates(
    findings: Findings, models: Mapping[ModelName, timing.Model], first: Findings
) -> list[tasks.Candidate]:
    """The models, each with a mark by which its answers are found again.

    So an interrupted evaluation goes on, and the dense model is asked once for all of a sweep.
    """
    trained = "" if findings.recovery is None else findings.recovery.folder.name
    marks: dict[ModelName, str] = {
        "dense": f"{first.mark} dense",
        "pruned": f"{findings.mark} pruned",
        "recovered": f"{findings.mark} recovered {trained}",
    }
    return [
        tasks.Candidate(name, model.folder, model.architecture, marks[name])
        for name, model in models.items()
    ]


@contextmanager
def _whole_models(findings: Findings, folder: Path) -> Iterator[dict[ModelName, timing.Model]]:
    """The models in folders of their own, as long as they are needed."""
    checkpoint, sizes = findings.intake.checkpoint, findings.plan.after
    try:
        folders: dict[ModelName, Path] = {
            "dense": whole_model.mirror(checkpoint, folder / "dense"),
            "pruned": whole_model.place(findings.partial, checkpoint, sizes, folder / "pruned"),
        }
        if findings.recovery is not None:
            recovered = findings.recovery.partial
            folders["recovered"] = whole_model.place(
                recovered, checkpoint, sizes, folder / "recovered"
            )
        architecture = checkpoint.architecture
        yield {name: timing.Model(path, architecture) for name, path in folders.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
