"""`slimgpt prune`: a smaller checkpoint from a model, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.engine.run import Run
from cli.engine.workdir import Workdir
from cli.options import recovery, shared, tasks
from cli.options.shared import DEFAULTS, Json
from cli.options.specification import (
    NO_TEXT,
    device_name,
    make_spec,
    model_place,
    schedule_fields,
    text_places,
)
from cli.terminal.display import display_on
from cli.terminal.exit_status import ending
from slimgpt.spec.prune import HELD_OUT

CALIBRATION = DEFAULTS.calibration


def prune(  # noqa: PLR0913 - one parameter an option
    model: shared.Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; must not exist.")],
    *,
    ratio: shared.Ratios = None,
    parameters: shared.Parameters = None,
    memory: shared.Memory = None,
    schedule: shared.Schedule = None,
    first_ratio: shared.FirstRatio = None,
    last_ratio: shared.LastRatio = None,
    calibration: shared.Calibration = CALIBRATION.source,
    calibration_config: shared.CalibrationConfig = None,
    calibration_split: shared.CalibrationSplit = CALIBRATION.split,
    text_field: shared.TextField = None,
    samples: shared.Samples = CALIBRATION.samples,
    seq_len: shared.SequenceLength = CALIBRATION.sequence_length,
    seed: shared.Seed = CALIBRATION.seed,
    device: shared.Device = "auto",
    method: shared.PruningMethod = DEFAULTS.method,
    head_score: shared.Score = DEFAULTS.head_score,
    head_unit: shared.Unit = DEFAULTS.head_unit,
    group_size: shared.GroupSize = str(DEFAULTS.group_size),
    channel_multiple: shared.ChannelMultiple = None,
    tensor_parallel: shared.TensorParallel = None,
    formats: shared.Formats = None,
    gguf_type: shared.GgufPrecision = None,
    damping: shared.Damping = DEFAULTS.damping,
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
    recover: recovery.Recover = None,
    recover_method: recovery.Method = None,
    recover_samples: recovery.Samples = None,
    recover_seq_len: recovery.SequenceLength = None,
    epochs: recovery.Epochs = None,
    learning_rate: recovery.LearningRate = None,
    batch_size: recovery.BatchSize = None,
    lora_rank: recovery.Rank = None,
    publish_recovered: recovery.PublishRecovered = False,
    resume: shared.Resume = False,
    as_json: Json = False,
) -> None:
    """Prune MODEL and write a smaller checkpoint to OUT."""
    console, training = Console(), recovery.fields_of(locals())
    with display_on(console, as_json=as_json) as display, ending(display):
        texts = [text for text in eval_text or [HELD_OUT] if text != NO_TEXT]
        learned = [] if recover is None else [recover]
        asked = tasks.Asked(task or (), shots, limit, task_source)
        files = [calibration, *texts, *learned, *asked.files]
        names, texts_root = text_places(files, asked.folders)
        place = model_place(model)
        ends = {"first_ratio": first_ratio, "last_ratio": last_ratio}
        spec = make_spec(
            {
                "model": place.name,
                **shared.targets(ratio),
                "parameters": parameters,
                "memory": memory,
                "method": method,
                "schedule": schedule_fields(schedule, method, ends),
                "calibration": {
                    "source": names[0],
                    "samples": samples,
                    "sequence_length": seq_len,
                    "seed": seed,
                    "config": calibration_config,
                    "split": calibration_split,
                    "text_field": text_field,
                    **shared.begin(bos),
                },
                "evaluation": {
                    "texts": names[1 : 1 + len(texts)],
                    "sequence_lengths": eval_seq_len or DEFAULTS.evaluation.sequence_lengths,
                    "max_tokens": max_tokens,
                    **shared.begin(bos),
                    **asked.part(names[-1] if task_source else None),
                    "inference": shared.inference_part(timing, timing_batch),
                },
                "recovery": recovery.part(names[1 + len(texts)] if learned else None, training),
                "head_score": head_score,
                "head_unit": head_unit,
                "group_size": group_size,
                "channel_multiple": channel_multiple,
                **shared.loading(formats, gguf_type, tensor_parallel),
                "damping": damping,
            }
        )
        run = Run(spec, place.root, texts_root, device_name(device))
        run.into(Workdir(out, resume=resume), display, None if as_json else console)
