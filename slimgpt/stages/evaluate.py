"""The `evaluate` stage: perplexity, tasks, drift and timing of all models, and the summary."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slimgpt.checkpoints.output import whole_model
from slimgpt.events import Event, ModelName, Warned
from slimgpt.layers import drift
from slimgpt.report import summary
from slimgpt.report.assessment import Calibration
from slimgpt.stages import perplexity, tasks
from slimgpt.stages.state import ModelState
from slimgpt.verification import timing
from slimgpt.verification.loaders import Model

WHOLE = "whole"


def measure(state: ModelState, workdir: Path, first: ModelState) -> Generator[Event, None, None]:
    """Evaluate the models and decide which one is published; warns if recovery made it worse.

    Args:
        first: the first model of the sweep, whose results for the dense model are reused; `state`
            itself for the first model.
    """
    models, inputs = state.models, state.inputs
    measuring = perplexity.evaluate(inputs.evaluation_sets, models, first.dense_likelihoods)
    state.perplexity, state.dense_likelihoods = yield from measuring
    for name in [name for name in models if name != "dense"]:
        for one in drift.measure(models["dense"], models[name], inputs.calibration.input_ids):
            state.drift.append({"model": name, **asdict(one)})
    yield from _measure_whole(state, workdir, first)
    curves = None if state.recovery is None else state.recovery.curves
    state.verdict = summary.of(
        state.spec, state.plan, state.perplexity, curves, _calibration(state)
    )
    if state.verdict.worse:
        yield Warned(message=state.verdict.line)


def _calibration(state: ModelState) -> Calibration | None:
    """How much the calibration tells about the columns of an FFN; None if nothing was pruned."""
    if state.plan.parameters_after == state.plan.parameters_before:
        return None
    checkpoint, wanted = state.inputs.checkpoint, state.spec.calibration
    tokens, columns = state.inputs.calibration.input_ids.numel(), state.plan.before
    widest = max(size.channels for size in columns)
    experts = checkpoint.architecture.experts
    reach = tokens if not experts else tokens * _chosen_experts(checkpoint.config) / experts
    return Calibration(
        tokens=tokens,
        columns=widest,
        per_column=reach / widest,
        samples=wanted.samples,
        sequence_length=wanted.sequence_length,
    )


def _chosen_experts(config: Mapping[str, Any]) -> int:
    """Experts that each token reaches; 1 if the config does not say."""
    found = [config.get(name) for name in ("num_experts_per_tok", "moe_topk", "top_k_experts")]
    return next((one for one in found if isinstance(one, int) and one > 0), 1)


def _measure_whole(
    state: ModelState, workdir: Path, first: ModelState
) -> Generator[Event, None, None]:
    """Run tasks and timing, which load whole models."""
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
    """The models, each with the fingerprint under which its answers are cached.

    An interrupted evaluation resumes from the cache, and a sweep evaluates the dense model once.
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
    """Write the whole models to temporary folders, removed on exit."""
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
