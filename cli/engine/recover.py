"""`slimgpt recover`: train adapters on a model, dense or pruned, and merge them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.engine.run import Run
from cli.engine.workdir import Workdir
from cli.options import recovery, shared, tasks
from cli.options.shared import Json
from cli.options.specification import NO_TEXT, device_name, make_spec, model_places, text_places
from cli.terminal.display import display_on
from cli.terminal.exit_status import ending
from slimgpt.spec.prune import HELD_OUT

PROBE = {"samples": 4, "sequence_length": 32}
"""Sequences that prove in the end that the result loads; nothing is pruned by them."""


def recover(  # noqa: PLR0913 - one parameter an option
    model: shared.Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; must not exist.")],
    *,
    data: Annotated[
        str,
        typer.Option(help=f"What to learn: {recovery.SOURCES}output, of messages, or of text."),
    ] = recovery.DEFAULTS.source,
    recover_method: Annotated[
        recovery.Kind | None, typer.Option("--method", help=recovery.KINDS)
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="For distillation: the model to learn from, such as the dense one."),
    ] = None,
    recover_samples: Annotated[int | None, typer.Option("--samples", help=recovery.ROWS)] = None,
    recover_seq_len: Annotated[int | None, typer.Option("--seq-len", help=recovery.CUT)] = None,
    epochs: recovery.Epochs = None,
    learning_rate: recovery.LearningRate = None,
    batch_size: recovery.BatchSize = None,
    lora_rank: recovery.Rank = None,
    seed: shared.Seed = recovery.DEFAULTS.seed,
    text_field: shared.TextField = None,
    device: shared.Device = "auto",
    eval_text: shared.EvaluationTexts = None,
    eval_seq_len: shared.EvaluationLengths = None,
    max_tokens: shared.MaxTokens = None,
    bos: shared.Begin = None,
    task: tasks.Names = None,
    shots: tasks.Shots = None,
    limit: tasks.Limit = None,
    task_source: tasks.Source = None,
    timing: shared.Timing = False,
    timing_batch: shared.TimingBatches = None,
    publish_recovered: recovery.PublishRecovered = False,
    resume: shared.Resume = False,
    as_json: Json = False,
) -> None:
    """Train low-rank adapters on MODEL, merge them and write the checkpoint to OUT.

    Nothing is pruned. Without --eval-text, rows of the data that are left out decide whether OUT
    is the recovered model.
    """
    console, training = Console(), recovery.fields_of(locals())
    with display_on(console, as_json=as_json) as display, ending(display):
        texts = [text for text in eval_text or [] if text != NO_TEXT]
        if HELD_OUT in texts:
            raise typer.BadParameter(
                "held-out text is what calibration leaves out, and here is none; name a text",
                param_hint="--eval-text",
            )
        asked = tasks.Asked(task or (), shots, limit, task_source)
        names, texts_root = text_places([data, *texts, *asked.files], asked.folders)
        (place, *taught), models_root = model_places([model, *([teacher] if teacher else [])])
        training |= {"seed": seed, "text_field": text_field}
        if taught:
            training["teacher"] = taught[0]
        evaluation = {
            "texts": names[1 : 1 + len(texts)],
            "sequence_lengths": eval_seq_len or shared.DEFAULTS.evaluation.sequence_lengths,
            "max_tokens": max_tokens,
            **shared.begin(bos),
            **asked.part(names[-1] if task_source else None),
            "inference": shared.inference_part(timing, timing_batch),
        }
        spec = make_spec(
            {
                "model": place,
                "ratio": 0.0,
                "calibration": {"source": names[0], "text_field": text_field, **PROBE},
                "evaluation": evaluation,
                "recovery": recovery.part(names[0], training),
            }
        )
        run = Run(spec, models_root, texts_root, device_name(device))
        run.into(Workdir(out, resume=resume), display, None if as_json else console)
