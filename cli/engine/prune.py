"""`slimgpt prune`: a smaller checkpoint from a model, on this machine."""

from __future__ import annotations

from rich.console import Console

from cli.engine.run import Run
from cli.engine.workdir import Workdir
from cli.options.groups import option_names
from cli.options.job import Job
from cli.options.model_names import locate_model
from cli.options.shared import Device, Json, Model, Out, Resume
from cli.options.specification import device_name, locate_texts, make_spec
from cli.terminal.event_output import event_output
from cli.terminal.exit_status import report_failure


def prune(
    model: Model,
    out: Out,
    *,
    job: Job,
    device: Device = "auto",
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Prune MODEL and write a smaller checkpoint to OUT.

    \b
    Example:
      slimgpt prune examples/model smaller --ratio 0.3 --samples 64 \\
          --seq-len 256 --calibration examples/model/texts/calibration.jsonl
    """
    console = Console()
    with event_output(console, as_json=as_json) as output, report_failure(output):
        tasks = job.evaluation.tasks
        names, texts_root = locate_texts([*job.texts, *tasks.files], tasks.folders)
        place = locate_model(model)
        spec = make_spec({"model": place.name, **job.fields(names)}, option_names(Job))
        run = Run(spec, place.root, texts_root, device_name(device))
        run.into(Workdir(out, resume=resume), output, None if as_json else console)
