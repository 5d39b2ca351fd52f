"""The `evaluate` stage: perplexity, tasks, drift and timing of all models, and the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from slimgpt.checkpoints.output import whole_model
from slimgpt.events import Event, ModelName, Warned
from slimgpt.layers import drift
from slimgpt.report import summary as verdict
from slimgpt.stages import perplexity, tasks
from slimgpt.stages.state import ModelState
from slimgpt.verification import timing
from slimgpt.verification.loaders import Model

WHOLE = "whole"


def measure(state: ModelState, workdir: Path, first: ModelState) -> Generator[Event, None, None]:
    """Measure the models, and decide what is published; say so where recovery made it worse.

    Args:
        first: of the sweep's models, whose measures of the dense one are taken over; `state`
            itself where it is the first.
    """
    models, inputs = state.models, state.inputs
    state.perplexity = yield from perplexity.evaluate(
        inputs.evaluation_sets, models, first.perplexity
    )
    for name in [name for name in models if name != "dense"]:
        for one in drift.measure(models["dense"], models[name], inputs.calibration.input_ids):
            state.drift.append({"model": name, **asdict(one)})
    yield from _measure_whole(state, workdir, first)
    curves = None if state.recovery is None else state.recovery.curves
    state.verdict = verdict.of(state.spec, state.plan, state.perplexity, curves)
    if state.verdict.worse:
        yield Warned(message=state.verdict.line)


def _measure_whole(
    state: ModelState, workdir: Path, first: ModelState
) -> Generator[Event, None, None]:
    """What takes whole models: tasks and timing."""
    wanted, harness_tasks = state.spec.evaluation.inference, state.inputs.harness_tasks
    if wanted is None and not harness_tasks:
        return
    with _whole_models(state, workdir / WHOLE) as folders:
        if harness_tasks:
            candidates = _candidates(state, folders, first)
            asking = tasks.evaluate(harness_tasks, candidates, workdir, state.device)
            state.tasks = yield from asking
        if wanted is not None:
            state.inference = yield from timing.measure(wanted, folders, state.device)


def _candidates(
    state: ModelState, models: Mapping[ModelName, Model], first: ModelState
) -> list[tasks.Candidate]:
    """The models, each with a mark by which its answers are found again.

    So an interrupted evaluation goes on, and the dense model is asked once for all of a sweep.
    """
    trained = "" if state.recovery is None else state.recovery.folder.name
    marks: dict[ModelName, str] = {
        "dense": f"{first.fingerprint} dense",
        "pruned": f"{state.fingerprint} pruned",
        "recovered": f"{state.fingerprint} recovered {trained}",
    }
    return [
        tasks.Candidate(name, model.folder, model.architecture, marks[name])
        for name, model in models.items()
    ]


@contextmanager
def _whole_models(state: ModelState, folder: Path) -> Iterator[dict[ModelName, Model]]:
    """The models in folders of their own, as long as they are needed."""
    checkpoint, sizes = state.inputs.checkpoint, state.plan.after
    try:
        folders: dict[ModelName, Path] = {
            "dense": whole_model.mirror(checkpoint, folder / "dense"),
            "pruned": whole_model.place(state.partial, checkpoint, sizes, folder / "pruned"),
        }
        if state.recovery is not None:
            recovered = state.recovery.partial
            folders["recovered"] = whole_model.place(
                recovered, checkpoint, sizes, folder / "recovered"
            )
        architecture = checkpoint.architecture
        yield {name: Model(path, architecture) for name, path in folders.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
