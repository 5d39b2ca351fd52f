"""`slimgpt prune`: a smaller checkpoint from a model, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli import options
from cli.client import Json
from cli.display import Display, display_on
from cli.ending import ending
from cli.options import DEFAULTS
from cli.specification import (
    NO_TEXT,
    device_name,
    make_spec,
    model_place,
    schedule_fields,
    text_places,
)
from cli.summary import show_summary
from cli.workdir import Workdir
from slimgpt.config import HELD_OUT, PruneSpec
from slimgpt.errors import SlimGPTError, StorageError
from slimgpt.events import Event, LayerFinished, Perplexity, Result, Verified

CALIBRATION = DEFAULTS.calibration


def prune(  # noqa: PLR0913 - one parameter an option
    model: options.Model,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; must not exist.")],
    *,
    ratio: options.Ratio = None,
    parameters: options.Parameters = None,
    memory: options.Memory = None,
    schedule: options.Schedule = None,
    first_ratio: options.FirstRatio = None,
    last_ratio: options.LastRatio = None,
    calibration: options.Calibration = CALIBRATION.source,
    calibration_config: options.CalibrationConfig = None,
    calibration_split: options.CalibrationSplit = CALIBRATION.split,
    text_field: options.TextField = None,
    samples: options.Samples = CALIBRATION.samples,
    seq_len: options.SequenceLength = CALIBRATION.sequence_length,
    seed: options.Seed = CALIBRATION.seed,
    device: options.Device = "auto",
    method: options.PruningMethod = DEFAULTS.method,
    head_score: options.Score = DEFAULTS.head_score,
    head_unit: options.Unit = DEFAULTS.head_unit,
    group_size: options.GroupSize = str(DEFAULTS.group_size),
    channel_multiple: options.ChannelMultiple = None,
    damping: options.Damping = DEFAULTS.damping,
    eval_text: options.EvaluationTexts = None,
    eval_seq_len: options.EvaluationLengths = None,
    resume: options.Resume = False,
    as_json: Json = False,
) -> None:
    """Prune MODEL and write a smaller checkpoint to OUT."""
    console = Console()
    with display_on(console, as_json=as_json) as display, ending(display):
        texts = [text for text in eval_text or [HELD_OUT] if text != NO_TEXT]
        names, texts_root = text_places([calibration, *texts])
        place = model_place(model)
        ends = {"first_ratio": first_ratio, "last_ratio": last_ratio}
        spec = make_spec(
            {
                "model": place.name,
                "ratio": ratio,
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
                },
                "evaluation": {
                    "texts": names[1:],
                    "sequence_lengths": eval_seq_len or DEFAULTS.evaluation.sequence_lengths,
                },
                "head_score": head_score,
                "head_unit": head_unit,
                "group_size": group_size,
                "channel_multiple": channel_multiple,
                "damping": damping,
            }
        )
        run = Run(spec, place.root, texts_root, device_name(device))
        result, measured = run.into(Workdir(out, resume=resume), display)
        if as_json:
            display.show(result)
        else:
            show_summary(console, result, measured)


@dataclass(frozen=True)
class Run:
    """A specification with all that the engine needs to know of this machine."""

    spec: PruneSpec
    models_root: Path
    texts_root: Path
    device: str

    def into(
        self, workdir: Workdir, display: Display
    ) -> tuple[Result, list[Perplexity | Verified]]:
        """Run the engine, show its events, and publish; the result names the published folder.

        Raises:
            SlimGPTError: the job cannot be done; says whether it can be resumed.
            KeyboardInterrupt: as before, with what to do next shown.
        """
        measured: list[Perplexity | Verified] = []
        result: Result | None = None
        try:
            with display:
                for event in self._events(workdir):
                    if isinstance(event, Result):
                        result = event
                        continue
                    if isinstance(event, LayerFinished):
                        workdir.keep()
                    elif isinstance(event, Perplexity | Verified):
                        measured.append(event)
                    display.show(event)
            if result is None:
                raise StorageError("the engine ended without a result", hint="this is a defect")
            workdir.publish(result.checkpoint)
        except SlimGPTError as error:
            error.hint = "; ".join(filter(None, (error.hint, workdir.left_behind())))
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(workdir.left_behind()) from None
        finally:
            workdir.discard_unless_kept()
        return result.model_copy(update={"checkpoint": str(workdir.out)}), measured

    def _events(self, workdir: Workdir) -> Iterator[Event]:
        from slimgpt.origins.roots import Roots
        from slimgpt.run import run

        roots = Roots(models=self.models_root, texts=self.texts_root, confined=False)
        yield from run(self.spec, workdir.path, roots, self.device, resume=workdir.resumed)
