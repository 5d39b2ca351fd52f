"""`EventOutput`: engine events as progress bars, plain text, or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from cli.terminal.json_lines import Write, json_lines
from cli.terminal.layer_row import HEADER, layer_row
from cli.terminal.summary import allowed, scores
from jobs.messages.expectation import Expectation
from jobs.messages.snapshot import Snapshot, advance, aged, begun
from slimgpt import events
from slimgpt.events import AnyEvent, Event

LABELS = {
    "start": "starting",
    "resolve": "reading model and texts",
    "plan": "planning",
    "prune": "pruning layers",
    "recover": "recovering",
    "evaluate": "evaluating",
    "verify": "verifying that it loads",
    "publish": "publishing",
}


class EventOutput(Protocol):
    """Shows events as they come; used as a context manager."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, event: Event) -> None:
        """Show one event."""

    def expect(self, expected: Mapping[str, Expectation]) -> None:
        """Say which stages there will be, for the time that is left."""


@contextmanager
def event_output(console: Console, *, as_json: bool) -> Iterator[EventOutput]:
    """The output of a command: JSON lines, progress bars in a terminal, else plain text."""
    if as_json:
        with json_lines() as write:
            yield JsonOutput(write)
    elif console.is_terminal and not console.is_dumb_terminal:
        yield ProgressOutput(console)
    else:
        yield TextOutput(console)


class JsonOutput(AbstractContextManager["JsonOutput"]):
    """One JSON object per event."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def show(self, event: Event) -> None:
        """Write the event's line."""
        self._write(event.line())

    def expect(self, expected: Mapping[str, Expectation]) -> None:
        """The events have no time left."""

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""


class TextOutput(AbstractContextManager["TextOutput"]):
    """One line per event of interest."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._errors = Console(stderr=True)
        self._ratios: list[float] = []  # of a sweep
        self._headed: int | None = None

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""

    def expect(self, expected: Mapping[str, Expectation]) -> None:
        """The text has no time left."""

    def show(self, event: Event) -> None:
        """Print the event, if it is of interest to people."""
        if isinstance(event, events.Failed):
            message = "; ".join(filter(None, (event.message, event.hint)))
            self._errors.print(
                Text(f"error: {message}", style="bold red"), soft_wrap=True, highlight=False
            )
            return
        if isinstance(event, events.Planned):
            self._ratios = [point.ratio for point in event.points]
        text = describe(event)
        if isinstance(event, events.LayerFinished):
            self._head(event.point)
        elif isinstance(event, events.PointEvent) and self._ratios and text is not None:
            text = Text.assemble(f"ratio {self._ratios[event.point]:g}: ", text)
        if text is not None:
            self._print(text)

    def _head(self, point: int) -> None:
        """Print the header of a model's layer table."""
        if point != self._headed:
            self._headed = point
            if self._ratios:
                self._print(Text(f"ratio {self._ratios[point]:g}", style="bold"))
            self._print(Text(HEADER, style="bold"))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


class ProgressOutput(TextOutput):
    """The text, and below it one progress bar per stage with the time left of the whole run."""

    def __init__(self, console: Console, progress: Progress | None = None) -> None:
        super().__init__(console)
        self._progress = progress or Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            CountColumn(),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._snapshot = Snapshot(expected={})

    def __enter__(self) -> ProgressOutput:
        self._begin("start")
        self._progress.start()
        return self

    def expect(self, expected: Mapping[str, Expectation]) -> None:
        """Count the time that is left over these stages."""
        self._snapshot = begun(expected)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Print the event and update the bars."""
        super().show(event)
        self._snapshot = advance(self._snapshot, event)
        if isinstance(event, events.StageStarted):
            self._begin(event.stage)
        elif isinstance(event, events.StageFinished):
            self._end(event.stage)
        elif isinstance(event, events.LayerFinished):
            self._move("prune", event.done, event.layers_total)
        elif isinstance(event, events.Progress):
            self._move(event.stage, event.done, event.total, event.what)

    def _begin(self, stage: str) -> None:
        if stage != "start":  # a command without that stage starts with another
            self._end("start")
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(LABELS[stage], total=None, left=self._left)

    def _end(self, stage: str) -> None:
        if stage in self._tasks:
            self._progress.remove_task(self._tasks.pop(stage))

    def _move(self, stage: str, done: int, total: int, what: str = "") -> None:
        if stage not in self._tasks:
            return
        label = f"{LABELS[stage]}: {what}" if what else LABELS[stage]
        self._progress.update(self._tasks[stage], completed=done, total=total, description=label)

    def _left(self) -> float | None:
        """Seconds until the end of the run, at this moment."""
        self._snapshot = aged(self._snapshot)
        return self._snapshot.eta_seconds


class CountColumn(ProgressColumn):
    """Done and total; empty while the total is unknown."""

    def render(self, task: Task) -> Text:
        """`3/32`."""
        return Text(f"{task.completed:g}/{task.total:g}" if task.total else "")


class TimeLeftColumn(ProgressColumn):
    """Time until the end of the run, all stages included; empty while it is not known."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """`0:01:30 left`, never less than a second."""
        left = task.fields["left"]()
        if left is None:
            return Text("")
        shown = timedelta(seconds=max(1, round(left)))
        return Text(f"{shown} left", style="progress.remaining")


def describe(event: AnyEvent | Event) -> Text | None:
    """An event as one line for people; None if it is not shown."""
    match event:
        case events.LayerFinished():
            return layer_row(event)
        case events.Warned():
            place = "" if event.layer is None else f"layer {event.layer}: "
            return Text(f"warning: {place}{event.message}", style="yellow")
        case events.Loss():
            return _held_out(event)
    message = _fact(event)
    return Text(message) if message else None


def _fact(event: AnyEvent | Event) -> str:
    match event:
        case events.Planned():
            return _plan(event)
        case events.Perplexity():
            recovered = "" if event.recovered is None else f" → {event.recovered:.2f} recovered"
            return (
                f"perplexity on {event.text}, {event.window}: "
                f"{event.dense:.2f} → {event.pruned:.2f}{recovered}"
            )
        case events.TaskScore():
            return f"task {scores(event)}"
        case events.Latency():
            return (
                f"timing by {event.loader}, {event.model}, batch {event.batch}: "
                f"prompt {event.prefill_ms:.1f} ±{event.prefill_spread_ms / 2:.1f} ms, "
                f"then {event.decode_ms_per_token:.2f} ±{event.decode_spread_ms / 2:.2f} ms "
                f"a token; {event.tokens_per_second:.1f} tokens a second"
            )
        case events.Verified():
            return (
                f"verified: {event.format}, by {event.loader}; logits of {event.tokens} tokens "
                f"differ by at most {event.max_difference:g}{allowed(event)}"
            )
    return ""


def _plan(event: events.Planned) -> str:
    if event.points:
        left = ", ".join(f"{point.parameters_after:,}" for point in event.points)
        return f"plan: {event.parameters_before:,} → {left} parameters in {event.layers} layers"
    return (
        f"plan: {event.parameters_before:,} → {event.parameters_after:,} parameters "
        f"({event.ratio_achieved:.2%} less) in {event.layers} layers; FFN widths are "
        f"multiples of {event.channel_multiple}"
    )


def _held_out(loss: events.Loss) -> Text | None:
    """The held-out loss; the training loss is in the progress bar."""
    measured = {"evaluation text": loss.text, "rows left out": loss.lessons}
    message = ", ".join(f"{value:.4f} on {what}" for what, value in measured.items() if value)
    return Text(f"recovery, step {loss.step} of {loss.steps}: loss {message}") if message else None
