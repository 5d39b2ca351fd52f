"""`slimgpt recover`: train a model, dense or pruned, again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console

from cli.engine.run import Run
from cli.engine.workdir import Workdir
from cli.options.evaluation import Evaluation
from cli.options.groups import option, option_names
from cli.options.model_names import locate_models
from cli.options.recovery import (
    CUT,
    DEFAULTS,
    KINDS,
    LEARNING,
    LIMIT,
    ROWS,
    SOURCES,
    Recovery,
)
from cli.options.shared import Device, Json, Model, Out, Resume
from cli.options.specification import device_name, locate_texts, make_spec
from cli.terminal.event_output import event_output
from cli.terminal.exit_status import report_failure
from slimgpt.spec.prune import HELD_OUT
from slimgpt.spec.recovery import Method, Weights

PROBE = {"samples": 4, "sequence_length": 32}
"""Sequences that prove in the end that the result loads; nothing is pruned by them."""


@dataclass(frozen=True, kw_only=True)
class Training(Recovery):
    """Recovery on its own, under shorter names."""

    source: Annotated[str, option("--data", f"What to learn: {SOURCES}")] = DEFAULTS.source
    method: Annotated[Method | None, option("--method", KINDS)] = None
    samples: Annotated[int | None, option("--samples", ROWS)] = None
    sequence_length: Annotated[int | None, option("--seq-len", CUT)] = None
    minutes: Annotated[float | None, option("--minutes", LIMIT)] = None
    weights: Annotated[Weights | None, option("--weights", LEARNING)] = None
    teacher: Annotated[
        str | None,
        option("--teacher", "For distillation: the model to learn from, such as the dense one."),
    ] = None
    text_field: Annotated[
        str | None, option("--text-field", "Field that holds the text.", "found automatically")
    ] = None
    seed: Annotated[int | None, option("--seed", "Seed of the training.", DEFAULTS.seed)] = None


OPTIONS = option_names(Training, "recovery") | option_names(Evaluation, "evaluation")


def recover(
    model: Model,
    out: Out,
    *,
    training: Training,
    evaluation: Evaluation,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Train MODEL again, adapters or layers, and write OUT.

    Nothing is pruned. Without --eval-text, rows of the data that are left out decide whether OUT
    is the recovered model.

    \b
    Example:
      slimgpt recover smaller recovered --data instructions.jsonl --minutes \\
          10
    """
    console = Console()
    with event_output(console, as_json=as_json) as output, report_failure(output):
        if HELD_OUT in evaluation.measured:
            what = "held-out text is what calibration leaves out, and nothing is calibrated here"
            raise typer.BadParameter(f"{what}; name a text", param_hint="--eval-text")
        tasks, teacher = evaluation.tasks, training.teacher
        texts = [training.source, *evaluation.measured, *tasks.files]
        names, texts_root = locate_texts(texts, tasks.folders)
        models, models_root = locate_models(*filter(None, (model, teacher)))
        learning = training.fields(names) | ({"teacher": models[teacher]} if teacher else {})
        probe = {name: learning[name] for name in ("source", "text_field") if name in learning}
        spec = make_spec(
            {
                "model": models[model],
                "ratio": 0.0,
                "calibration": PROBE | probe,
                "evaluation": {"texts": [], **evaluation.fields(names)},
                "recovery": learning,
            },
            OPTIONS,
        )
        run = Run(spec, models_root, texts_root, device_name(device))
        run.into(Workdir(out, resume=resume), output, None if as_json else console)
