"""`slimgpt eval`: perplexity of a model, dense or pruned, loaded one layer at a time."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from cli import options
from cli.client import Json
from cli.display import display_on
from cli.ending import ending
from cli.specification import Place, device_name, model_place, text_places
from cli.summary import show_facts, size
from slimgpt.events import Event, Progress, StageFinished, StageStarted


def evaluate(
    model: options.Model,
    *,
    text: Annotated[
        str, typer.Option(help="wikitext2, c4, hf:NAME, or a file (.jsonl, .json, .txt).")
    ] = "wikitext2",
    seq_len: Annotated[
        int, typer.Option(min=2, max=131072, help="Tokens in a window; windows do not overlap.")
    ] = 128,
    max_tokens: Annotated[
        int | None, typer.Option(min=8, help="Use only so many tokens from the start.")
    ] = None,
    device: options.Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure the perplexity of MODEL on a text."""
    console = Console()
    with display_on(console, as_json=as_json) as display, ending(display):
        device_name(device)
        (name,), root = text_places([text])
        sitting = Sitting(model_place(model), name, root, seq_len, max_tokens)
        score: Score | None = None
        with display:
            for event in sitting.begin(device):
                if isinstance(event, Score):
                    score = event
                else:
                    display.show(event)
        if score is None:
            raise AssertionError("a sitting ends with its score")
        if as_json:
            display.show(score)
        else:
            _print(console, score)


class Score(Event):
    """Perplexity of one model on one text, under the protocol that it names."""

    type: Literal["result"] = "result"
    model: str
    text: str
    protocol: str
    sequence_length: int
    tokens: int
    perplexity: float
    parameters: int
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Sitting:
    """A model before a text.

    Attributes:
        text: in the engine's vocabulary, below `texts_root` where it is a file.
        length: tokens in a window.
        max_tokens: use only so many tokens from the start of the text.
    """

    model: Place
    text: str
    texts_root: Path
    length: int
    max_tokens: int | None

    def begin(self, device: str) -> Iterator[Event]:
        """Measure; the last event is the `Score`.

        Raises:
            SlimGPTError: model, text or device cannot be had, or the likelihood is not finite.
        """
        from slimgpt import failures

        with failures.expected(self.texts_root):
            yield from self._measure(device)

    def _measure(self, device: str) -> Iterator[Event]:
        from slimgpt import memory
        from slimgpt.checkpoints.checkpoint import Checkpoint
        from slimgpt.layers import perplexity
        from slimgpt.layers.stack import Stack
        from slimgpt.origins.resolve import resolve_model
        from slimgpt.origins.roots import Roots
        from slimgpt.precision import device_for
        from slimgpt.texts import windows
        from slimgpt.texts.sources import evaluation_text
        from slimgpt.texts.tokenizer import Tokenizer

        began = time.monotonic()
        chosen = device_for(device)
        yield StageStarted(stage="resolve")
        roots = Roots(self.model.root, self.texts_root, confined=False)
        model = resolve_model(self.model.name, roots, None)
        checkpoint = Checkpoint.open(model.folder)
        content = evaluation_text(self.text, roots)
        cut = windows.windows(content, Tokenizer.load(model.folder), self.length, self.max_tokens)
        yield StageFinished(stage="resolve", seconds=time.monotonic() - began)
        yield StageStarted(stage="evaluate")
        measured = perplexity.measure(Stack(checkpoint, chosen), cut)
        value = yield from _watched(measured, checkpoint.architecture.layers)
        yield Score(
            model=self.model.name,
            text=self.text,
            protocol=windows.protocol(self.text, self.length, self.max_tokens),
            sequence_length=self.length,
            tokens=len(cut) * (self.length - 1),
            perplexity=value,
            parameters=checkpoint.parameters,
            seconds=time.monotonic() - began,
            peak_memory_bytes=memory.peak_bytes(chosen),
        )


def _watched(measured: Generator[int, None, float], layers: int) -> Generator[Event, None, float]:
    """A measurement with its layers told as progress."""
    while True:
        try:
            done = next(measured)
        except StopIteration as finished:
            return float(finished.value)
        yield Progress(stage="evaluate", done=done, total=layers)


def _print(console: Console, score: Score) -> None:
    facts = (
        ("perplexity", f"{score.perplexity:.4f}"),
        ("protocol", score.protocol),
        ("tokens", f"{score.tokens:,} predicted"),
        ("parameters", f"{score.parameters:,}"),
        ("took", f"{score.seconds:.1f} s, {size(score.peak_memory_bytes)} at the peak"),
    )
    show_facts(console, facts)
