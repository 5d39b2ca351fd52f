"""`slimgpt prune`: a smaller checkpoint from a model, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.client import Json
from cli.display import Display, display_on
from cli.ending import ending
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
from slimgpt.config import HELD_OUT, HeadScore, HeadUnit, Method, PruneSpec
from slimgpt.errors import SlimGPTError, StorageError
from slimgpt.events import Event, LayerFinished, Perplexity, Result, Verified

WINDOW_TOKENS = 128  # the paper's protocol


def prune(  # noqa: PLR0913 - one parameter an option
    model: Annotated[str, typer.Argument(help="Folder of the model, or org/name[@revision].")],
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    *,
    ratio: Annotated[float, typer.Option(help="Share of all parameters to remove, 0 ≤ ratio < 1.")],
    schedule: Annotated[
        str | None,
        typer.Option(
            help="How the ratio grows with depth: log, linear, uniform, log-decrease, "
            "linear-decrease, global (FLAP's), or a file with one ratio a layer, as a JSON list "
            "or one a line. Default: the method's own, log for slimgpt."
        ),
    ] = None,
    first_ratio: Annotated[
        float | None, typer.Option(help="Ratio of the first layer; default a quarter of the last.")
    ] = None,
    last_ratio: Annotated[
        float | None, typer.Option(help="Ratio of the last layer; instead of --first-ratio.")
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            help="Text to calibrate on: c4, alpaca, gpt4-alpaca, wikitext2, hf:NAME, or a file "
            "(.jsonl, .json, .txt)."
        ),
    ] = "c4",
    calibration_config: Annotated[
        str | None, typer.Option(help="Configuration of an hf: data set.")
    ] = None,
    calibration_split: Annotated[str, typer.Option(help="Split of an hf: data set.")] = "train",
    text_field: Annotated[
        str | None, typer.Option(help="Field that holds the text; found by itself if not said.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Number of calibration sequences.")] = 256,
    seq_len: Annotated[int, typer.Option(help="Tokens in a calibration sequence.")] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of the calibration samples.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    method: Annotated[Method, typer.Option(help="What chooses and repairs.")] = "slimgpt",
    head_score: Annotated[
        HeadScore, typer.Option(help="Score by which heads leave.")
    ] = "grouped_cholesky",
    head_unit: Annotated[
        HeadUnit,
        typer.Option(
            help="What leaves together: a KV head with its query heads, or the same number of "
            "query heads in every group."
        ),
    ] = "kv_group",
    group_size: Annotated[
        str, typer.Option(help="Channels removed between two scorings: dynamic or a number.")
    ] = "dynamic",
    channel_multiple: Annotated[
        int | None,
        typer.Option(
            help="FFN widths are multiples of this; default the largest of 32, 16, 8, 4, 2, 1 "
            "that meets the ratio."
        ),
    ] = None,
    damping: Annotated[
        float, typer.Option(help="Added to the Hessian's diagonal, as a share of its mean.")
    ] = 0.01,
    eval_text: Annotated[
        list[str] | None,
        typer.Option(
            help="Text to measure perplexity on: wikitext2, c4, hf:NAME, a file, held-out (what "
            "calibration did not use), or none; may be given several times.  [default: held-out]"
        ),
    ] = None,
    eval_seq_len: Annotated[
        list[int] | None,
        typer.Option(help="Tokens in a window of it; several allowed.  [default: 128]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished layer in OUT.work.")
    ] = False,
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
                    "sequence_lengths": eval_seq_len or [WINDOW_TOKENS],
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
        from slimgpt.run import run

        from slimgpt.roots import Roots

        roots = Roots(models=self.models_root, texts=self.texts_root, confined=False)
        yield from run(self.spec, workdir.path, roots, self.device, resume=workdir.resumed)
