"""`slimgpt eval`: perplexity of a model, loaded one layer at a time, and tasks, loaded whole."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel
from rich.console import Console

from cli.options.evaluation import Begin, Tasks
from cli.options.groups import option, option_names
from cli.options.model_names import Location, locate_model
from cli.options.shared import Device, Devices, Json, Model
from cli.options.specification import device_name, locate_texts, make_spec
from cli.terminal.event_output import event_output
from cli.terminal.exit_status import report_failure
from cli.terminal.summary import asked, score, show_facts, took
from jobs.messages.expectation import Expectation
from slimgpt.events import Event, Interval, StageFinished, StageStarted
from slimgpt.spec.prune import EvaluationSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from slimgpt.checkpoints.checkpoint import Checkpoint
    from slimgpt.harness.harness_task import HarnessTask
    from slimgpt.machine.ranks import Ranks
    from slimgpt.sources.roots import Roots
    from slimgpt.texts.tokenization.tokenizer import Tokenizer
    from slimgpt.texts.tokenization.windows import Beginning

DEFAULT_TEXT = "wikitext2"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a model is measured on."""

    texts: Annotated[
        str | None,
        option(
            "--text",
            "wikitext2, c4, hf:NAME, or a file as for prune.",
            "wikitext2, or none where tasks are asked for",
        ),
    ] = None
    sequence_lengths: Annotated[
        int, option("--seq-len", "Tokens in a window; windows do not overlap.", min=2, max=131072)
    ] = 128
    max_tokens: Annotated[
        int | None, option("--max-tokens", "Use only this many tokens from the start.", min=8)
    ] = None
    bos: Begin = None
    tasks: Tasks


def evaluate(
    model: Model,
    *,
    measurement: Measurement,
    device: Device = "auto",
    devices: Devices = 1,
    as_json: Json = False,
) -> None:
    """Measure a model's perplexity and its scores on tasks.

    \b
    Example:
      slimgpt eval smaller --text examples/model/texts/evaluation.jsonl
    """
    console = Console()
    with event_output(console, as_json=as_json) as output, report_failure(output):
        device, run = device_name(device), _evaluation_run(model, measurement)
        result: Score | None = None
        output.expect({"evaluate": Expectation()})
        with output:
            for event in run.measure(device, devices):
                if isinstance(event, Score):
                    result = event
                else:
                    output.show(event)
        assert result is not None, "a run ends with its score"
        output.show(result) if as_json else _print(console, result)


def _evaluation_run(model: str, measurement: Measurement) -> EvaluationRun:
    """The run for a command's options.

    Raises:
        SlimGPTError, typer.BadParameter: a model, a text or an option cannot be used.
    """
    tasks = measurement.tasks
    text = measurement.texts or ("" if tasks.name else DEFAULT_TEXT)
    texts = [text] if text else []
    names, root = locate_texts([*texts, *tasks.files], tasks.folders)
    begin = {} if measurement.bos is None else {"bos": measurement.bos}
    read = [names.get(text, text) for text in texts]
    evaluation = {"texts": read, **begin, **tasks.fields(names)}
    wanted = make_spec(
        {"model": "local:any", "ratio": 0.0, "evaluation": evaluation},
        option_names(Measurement, "evaluation"),
    ).evaluation
    length, most = measurement.sequence_lengths, measurement.max_tokens
    return EvaluationRun(locate_model(model), wanted, root, length, most)


class TaskResult(BaseModel):
    """What a model scores on a task or a group, by one metric; `error` is a standard error."""

    task: str
    metric: str
    shots: int
    samples: int
    group: str | None
    sha256: str
    value: float
    error: float | None


class Score(Event):
    """What one model scores: perplexity under the protocol that it names, and tasks.

    The fields of perplexity are None where only tasks were asked for. `interval`: 95%, from
    resampled windows; `sha256`: of their tokens, as in a report.
    """

    type: Literal["result"] = "result"
    model: str
    text: str | None = None
    protocol: str | None = None
    sequence_length: int | None = None
    begins_with: str | None = None
    tokens: int | None = None
    windows: int | None = None
    sha256: str | None = None
    perplexity: float | None = None
    interval: Interval | None = None
    tasks: tuple[TaskResult, ...] = ()
    parameters: int
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class EvaluationRun:
    """Measures a model's perplexity on a text, and its scores on tasks.

    Attributes:
        wanted: one text or none, and tasks; files are below `texts_root`.
        length: tokens in a window.
        max_tokens: use only so many tokens from the start of the text.
    """

    model: Location
    wanted: EvaluationSpec
    texts_root: Path
    length: int
    max_tokens: int | None

    def measure(self, device: str, devices: int = 1) -> Iterator[Event]:
        """Measure; the last event is the `Score`.

        Raises:
            SlimGPTError: the model, a text, a task or the device is not available, or the
                likelihood is not finite.
        """
        from slimgpt.sources import hub_check

        for text in self.wanted.texts:
            if not text.startswith(hub_check.HERE):
                hub_check.reach(f"text {text!r}", "`--text FILE`")
        from slimgpt.machine.rank_processes import opened
        from slimgpt.machine.resource_errors import expected

        with expected(self.texts_root), opened(device, devices) as ranks:
            yield from self._measure(ranks)

    def _measure(self, ranks: Ranks) -> Iterator[Event]:
        from slimgpt.checkpoints import tokenizer_checks
        from slimgpt.checkpoints.checkpoint import Checkpoint
        from slimgpt.harness.harness_task import prepare
        from slimgpt.machine import memory
        from slimgpt.sources.resolve import resolve_model
        from slimgpt.sources.roots import Roots
        from slimgpt.texts.tokenization import sandbox

        began = time.monotonic()
        yield StageStarted(stage="resolve")
        roots = Roots(self.model.root, self.texts_root, confined=False)
        model = resolve_model(self.model.name, roots)
        checkpoint = Checkpoint.open(model.folder)
        tokenizer_checks.check(checkpoint.location)
        with sandbox.opened(model.folder) as tokenizer:
            windows = self._windows(tokenizer, roots)
            begin = None if windows is None else self._beginning(tokenizer)
        harness_tasks = prepare(self.wanted, roots)
        yield StageFinished(stage="resolve", seconds=time.monotonic() - began)
        yield StageStarted(stage="evaluate")
        measured: dict[str, Any] = {}
        self._try(checkpoint, ranks.device, windows)
        if windows is not None and begin is not None:
            measured = yield from self._perplexity(checkpoint, windows, begin, ranks)
        if harness_tasks:
            measured["tasks"] = yield from _scores(harness_tasks, checkpoint, ranks)
        yield Score(
            model=self.model.name,
            **measured,
            parameters=checkpoint.parameters,
            seconds=time.monotonic() - began,
            peak_memory_bytes=memory.peak_bytes(ranks.device),
        )

    def _try(self, checkpoint: Checkpoint, device: torch.device, cut: Tensor | None) -> None:
        """Check that the model computes finite numbers before it is scored."""
        import torch

        from slimgpt.layers.stack import Stack
        from slimgpt.verification import sanity

        some = torch.arange(min(16, checkpoint.architecture.vocabulary))[None]
        list(sanity.compute(Stack(checkpoint, device), some if cut is None else cut[:1]))

    def _windows(self, tokenizer: Tokenizer, roots: Roots) -> Tensor | None:
        from slimgpt.texts.sources import evaluation_text
        from slimgpt.texts.tokenization import windows

        if not self.wanted.texts:
            return None
        content, bos = evaluation_text(self.wanted.texts[0], roots), self.wanted.bos
        return windows.windows(content, tokenizer, self.length, self.max_tokens, bos=bos)

    def _beginning(self, tokenizer: Tokenizer) -> Beginning:
        from slimgpt.texts.tokenization.windows import Beginning

        return Beginning.of(tokenizer, self.wanted.bos, self.length)

    def _perplexity(
        self, checkpoint: Checkpoint, cut: Tensor, begin: Beginning, ranks: Ranks
    ) -> Generator[Event, None, dict[str, Any]]:
        from slimgpt.layers import perplexity
        from slimgpt.layers.stack import StoredModel
        from slimgpt.report import bootstrap
        from slimgpt.stages.perplexity import as_progress
        from slimgpt.texts.tokenization import windows

        measured = StoredModel(checkpoint).run(ranks, perplexity.measure, cut, begin.given)
        found = yield from as_progress(measured, 0, checkpoint.architecture.layers)
        intervals, _ = bootstrap.intervals({"dense": found.losses}, found.predicted)
        text = self.wanted.texts[0]
        return {
            "text": text,
            "protocol": windows.protocol(text, self.length, self.max_tokens, begin),
            "sequence_length": self.length,
            "begins_with": begin.text,
            "tokens": len(cut) * found.predicted,
            "windows": len(cut),
            "sha256": windows.digest(cut, begin.given),
            "perplexity": found.perplexity,
            "interval": intervals.get("dense"),
        }


def _scores(
    harness_tasks: Sequence[HarnessTask], checkpoint: Checkpoint, ranks: Ranks
) -> Generator[Event, None, list[TaskResult]]:
    """A model's scores on tasks; the whole model is loaded for them."""
    from slimgpt.checkpoints.output import whole_model
    from slimgpt.stages.tasks import Candidate, ask

    with tempfile.TemporaryDirectory(prefix="slimgpt-eval-") as room:
        folder = whole_model.mirror(checkpoint, Path(room) / "model")
        candidate = Candidate("dense", folder, checkpoint.architecture, "")
        steps = (0, sum(len(harness_task.leaves) for harness_task in harness_tasks))
        rows = yield from ask(harness_tasks, candidate, Path(room) / "scores", ranks, steps)
    return [TaskResult.model_validate(asdict(row)) for row in rows]


def _range(interval: Interval | None) -> str:
    return f" (95%: {interval[0]:.4g} to {interval[1]:.4g})" if interval else ""


def _print(console: Console, measured: Score) -> None:
    facts = []
    if measured.perplexity is not None:
        facts += [
            ("perplexity", f"{measured.perplexity:.4f}{_range(measured.interval)}"),
            ("protocol", str(measured.protocol)),
            ("tokens", f"{measured.tokens:,} predicted"),
        ]
    for row in measured.tasks:
        said = f"{score(row.value, row.error)} on {asked(row.samples, row.shots)}"
        facts.append(("task", f"{row.task}, {row.metric}: {said}"))
    cost = took(measured.seconds, measured.peak_memory_bytes)
    show_facts(console, [*facts, ("parameters", f"{measured.parameters:,}"), ("took", cost)])
