"""What people see: the same lines everywhere, drawing only where it can be drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress as BarProgress

from cli.terminal.event_output import (
    CountColumn,
    ProgressOutput,
    TextOutput,
    TimeLeftColumn,
    event_output,
)
from cli.terminal.layer_row import HEADER, layer_row, short
from jobs.messages.expectation import Expectation
from slimgpt.events import (
    Event,
    LayerFinished,
    Perplexity,
    Planned,
    Progress,
    StageFinished,
    StageStarted,
    Warned,
)


def layer(index: int = 0, *, resumed: bool = False, ffn_damping: float = 0.01) -> LayerFinished:
    return LayerFinished(
        layer=index,
        layers_total=2,
        heads_before=32,
        heads=24,
        kv_heads_before=8,
        kv_heads=6,
        channels_before=14336,
        channels=10752,
        parameters_before=218_112_000,
        parameters=163_577_856,
        attention_error=0.01234,
        ffn_error=0.2,
        attention_damping=0.01,
        ffn_damping=ffn_damping,
        seconds=12.34,
        resumed=resumed,
    )


RUN: tuple[Event, ...] = (
    StageStarted(stage="resolve"),
    Progress(stage="resolve", done=1, total=3, what="calibration text"),
    StageFinished(stage="resolve", seconds=0.1),
    Planned(
        parameters_before=1000,
        parameters_after=700,
        ratio_achieved=0.3,
        layers=2,
        channel_multiple=32,
    ),
    StageStarted(stage="prune"),
    layer(0, resumed=True),
    layer(1, ffn_damping=0.1),
    Warned(message="damping was raised [to 0.1]", layer=1),
    StageFinished(stage="prune", seconds=25.0),
    Perplexity(text="held-out", sequence_length=128, tokens=127, dense=8.0, pruned=12.0),
)
EXPECTED = (
    "1,000 → 700 parameters (30.00% less)",
    "warning: layer 1: damping was raised [to 0.1]",
    "perplexity on held-out, 128 tokens a window: 8.00 → 12.00",
)


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    display = (ProgressOutput if terminal else TextOutput)(console)
    with display:
        for event in RUN:
            display.show(event)
    return stream.getvalue()


def test_a_pipe_gets_plain_lines_and_the_header_once() -> None:
    text = shown(terminal=False)
    assert "\x1b" not in text
    assert text.count(HEADER) == 1
    assert [words for words in EXPECTED if words not in text] == []
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_the_same_lines_and_bars() -> None:
    text = shown(terminal=True)
    assert "\x1b[" in text
    assert [words for words in EXPECTED if words not in text] == []
    assert "pruning layers" in text


def test_the_table_fits_a_terminal_of_eighty_columns() -> None:
    assert len(HEADER) <= 80
    assert len(layer_row(layer(31)).plain) == len(HEADER)


def test_rows_say_damping_that_was_raised_and_layers_that_were_there() -> None:
    assert "0.01/0.1" in layer_row(layer(ffn_damping=0.1)).plain
    assert layer_row(layer(resumed=True)).plain.endswith("resumed")


@pytest.mark.parametrize("no_bars", [{"TERM": "dumb"}, {"TTY_COMPATIBLE": "0"}])
def test_a_terminal_that_cannot_draw_gets_lines(
    no_bars: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in no_bars.items():
        monkeypatch.setenv(name, value)
    with event_output(Console(), as_json=False) as display:
        assert type(display) is TextOutput


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (812, "812"), (51_300, "51.3K"), (6_738_415_616, "6.74B")]
)
def test_counts_are_short(count: int, text: str) -> None:
    assert short(count) == text


def test_the_time_left_is_that_of_the_whole_run_and_never_nothing() -> None:
    now = 0.0
    progress = BarProgress(CountColumn(), TimeLeftColumn(), get_time=lambda: now, disable=True)
    bars = ProgressOutput(Console(file=io.StringIO()), progress)
    verify = {"prune": Expectation(), "verify": Expectation(30.0)}
    bars.expect(verify)
    bars.show(StageStarted(stage="prune"))
    (task,) = progress.tasks
    assert TimeLeftColumn().render(task).plain == ""
    bars.show(layer(0).model_copy(update={"seconds": 100.0}))  # of two
    assert CountColumn().render(task).plain == "1/2"
    assert TimeLeftColumn().render(task).plain == "0:02:10 left"
    bars.show(layer(1).model_copy(update={"seconds": 100.0}))
    assert TimeLeftColumn().render(task).plain == "0:00:30 left"  # the proof is still to come
    bars.show(StageFinished(stage="prune", seconds=200.0))
    bars.show(StageStarted(stage="verify"))
    bars.show(StageFinished(stage="verify", seconds=30.0))
    assert TimeLeftColumn().render(task).plain == "0:00:01 left"


def test_layers_that_were_there_do_not_count_for_the_pace() -> None:
    progress = BarProgress(get_time=lambda: 0.0, disable=True)
    bars = ProgressOutput(Console(file=io.StringIO()), progress)
    bars.expect({"prune": Expectation()})
    bars.show(StageStarted(stage="prune"))
    (task,) = progress.tasks
    bars.show(layer(0, resumed=True).model_copy(update={"layers_total": 3}))
    assert TimeLeftColumn().render(task).plain == ""
    bars.show(layer(1).model_copy(update={"layers_total": 3, "seconds": 60.0}))
    assert TimeLeftColumn().render(task).plain == "0:01:00 left"
