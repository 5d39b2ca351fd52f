"""The `evaluate` stage: perplexity, tasks, drift, timing and sample texts of all models, and the
summary."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from slimgpt.checkpoints.output import whole_model
from slimgpt.events import Event, ModelName, Warned
from slimgpt.layers import drift
from slimgpt.report import summary
from slimgpt.report.assessment import Calibration
from slimgpt.report.schema import SampleReport, SampleText
from slimgpt.spec.prune import SampleSpec
from slimgpt.stages import perplexity, tasks
from slimgpt.stages.resolve import JobInputs
from slimgpt.stages.state import ModelState
from slimgpt.texts.tokenization import sandbox
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from slimgpt.verification import samples, timing
from slimgpt.verification.loaders import Model
from slimgpt.verification.samples import Continued

WHOLE = "whole"


def measure(state: ModelState, workdir: Path, first: ModelState) -> Generator[Event, None, None]:
    """Evaluate the models and decide which one is published; warns if recovery made it worse, or if
    nothing tells.

    Args:
        first: the first model of the sweep, whose results for the dense model are reused; `state`
            itself for the first model.
    """
    models, inputs = state.models, state.inputs
    measuring = perplexity.evaluate(
        inputs.evaluation_sets, state.stored, state.ranks, first.dense_likelihoods
    )
    state.perplexity, state.dense_likelihoods = yield from measuring
    for name in [name for name in models if name != "dense"]:
        for one in drift.measure(models["dense"], models[name], inputs.calibration.input_ids):
            state.drift.append({"model": name, **asdict(one)})
    yield from _measure_whole(state, workdir, first)
    curves = None if state.recovery is None else state.recovery.curves
    state.verdict = summary.of(
        state.spec, state.plan, state.perplexity, curves, _calibration(state)
    )
    if state.verdict.worse or not state.verdict.judged:
        yield Warned(message=state.verdict.line)


def _calibration(state: ModelState) -> Calibration | None:
    """How much the calibration tells about the columns of an FFN; None if nothing was pruned."""
    if state.plan.parameters_after == state.plan.parameters_before:
        return None
    checkpoint, wanted = state.inputs.checkpoint, state.spec.calibration
    tokens, columns = state.inputs.calibration.input_ids.numel(), state.plan.before
    widest = max(size.channels for size in columns)
    experts = checkpoint.architecture.experts
    reach = float(tokens)
    if experts:
        completed = checkpoint.architecture.family.completed(checkpoint.config)
        reach *= completed["num_experts_per_tok"] / experts
    return Calibration(
        tokens=tokens,
        columns=widest,
        per_column=reach / widest,
        samples=wanted.samples,
        sequence_length=wanted.sequence_length,
    )


def _measure_whole(
    state: ModelState, workdir: Path, first: ModelState
) -> Generator[Event, None, None]:
    """Run tasks, timing and sample texts, which load whole models."""
    wanted, harness_tasks = state.spec.evaluation.inference, state.inputs.harness_tasks
    sampled = state.spec.evaluation.samples
    if wanted is None and sampled is None and not harness_tasks:
        return
    with _whole_models(state, workdir / WHOLE) as folders:
        if harness_tasks:
            candidates = _candidates(state, folders, first)
            asking = tasks.evaluate(harness_tasks, candidates, workdir, state.ranks)
            state.tasks = yield from asking
        if wanted is not None:
            state.inference = yield from timing.measure(wanted, folders, state.device)
        if sampled is not None:
            state.samples = yield from _samples(
                sampled, state.inputs, folders, state.device, first.samples
            )


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


def _samples(
    spec: SampleSpec,
    inputs: JobInputs,
    models: Mapping[ModelName, Model],
    device: torch.device,
    dense: SampleReport | None,
) -> Generator[Event, None, SampleReport]:
    """Let the models continue the first tokens of some windows of text.

    Args:
        dense: the samples of a sweep's first model; what the dense model wrote is taken from it.
    """
    text, prompts = _prompts(spec, inputs)
    asked = {name: model for name, model in models.items() if name != "dense" or dense is None}
    continued = yield from samples.write(spec, prompts.tolist(), asked, device)
    with sandbox.opened(inputs.model.folder) as tokenizer:
        texts = [
            _text(tokenizer, inputs.end_token, prompt, continued, number)
            for number, prompt in enumerate(prompts.tolist())
        ]
    if dense is not None:
        pairs = zip(texts, dense.texts, strict=True)
        texts = [mine.model_copy(update={"dense": theirs.dense}) for mine, theirs in pairs]
    return SampleReport(
        source=text,
        prompt_tokens=prompts.shape[1],
        new_tokens=spec.new_tokens,
        temperature=spec.temperature,
        seed=spec.seed,
        texts=texts,
    )


def _prompts(spec: SampleSpec, inputs: JobInputs) -> tuple[str, Tensor]:
    """The text that the prompts are from, and the prompts, (prompts, tokens) int64.

    They begin windows of the first evaluation text, at even distances; without one, those of the
    calibration text.
    """
    if inputs.evaluation_sets:
        first = inputs.evaluation_sets[0]
        text, windows = first.text, first.windows
    else:
        text, windows = inputs.calibration.source, inputs.calibration.input_ids
    count = min(spec.prompts, len(windows))
    chosen = torch.arange(count) * len(windows) // count
    return text, windows[chosen, : spec.prompt_tokens]


def _text(
    tokenizer: Tokenizer,
    end: int | None,
    prompt: list[int],
    continued: Continued,
    number: int,
) -> SampleText:
    def after(ids: list[int]) -> str:
        kept = ids[: ids.index(end)] if end in ids else ids
        # Decoded together: a tokenizer may join what follows to what is before.
        return tokenizer.decode(prompt + kept).removeprefix(tokenizer.decode(prompt))

    written = {name: after(texts[number]) for name, texts in continued.items()}
    return SampleText.model_validate({"prompt": tokenizer.decode(prompt), **written})
