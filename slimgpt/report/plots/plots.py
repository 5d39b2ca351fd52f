"""The plots of a report. Each is shown above the table with the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slimgpt.events import ModelName, Perplexity
from slimgpt.report.document import NAMES, Document, InferenceTiming, Score
from slimgpt.report.plots import layers as by_layer
from slimgpt.report.plots.canvas import ERROR, apart, bars, canvas, depth, legend, line
from slimgpt.report.plots.svg import COLOURS, drawing, inline, label
from slimgpt.report.tables.tables import named, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Plot:
    """A plot for a page: `svg` is an `<svg>` element, `table` the name of its table."""

    name: str
    table: str
    title: str
    svg: str


def plots(document: Document) -> list[Plot]:
    """The plots for which the report has data."""
    layers = bool(document.layers)
    wanted: tuple[tuple[str, str, str, bool, Callable[[Document], Figure]], ...] = (
        ("perplexities", "perplexity", "Perplexity", bool(document.perplexity), _perplexity),
        ("scores", "tasks", "Task scores", bool(document.tasks), _tasks),
        ("speeds", "inference", "Inference", bool(document.inference), _inference),
        ("ratios", "layers", "Removed from each layer", layers, by_layer.ratios),
        ("errors", "layers", "Reconstruction error of each layer", layers, by_layer.errors),
        ("drifts", "drift", "Drift with depth", bool(document.drift), by_layer.drift),
        ("curves", "losses", "Loss of the recovery", _has_curves(document), _curves),
        ("stages", "cost", "Time of each stage", bool(document.seconds), _stages),
        ("times", "layers", "Time of each layer", layers, by_layer.times),
    )
    with drawing():
        return [
            Plot(name, table, title, inline(make(document), name, title, _behind(table)))
            for name, table, title, present, make in wanted
            if present
        ]


def _behind(table: str) -> str:
    return f"The numbers are in the table “{table}” of this page."


def _perplexity(document: Document) -> Figure:
    figure, (axes,) = canvas(2.7)
    many = document.perplexity
    groups = [
        f"{label(one.text, 26)}\n{one.sequence_length} tokens"
        + (f" from {label(one.begins_with)}" if one.begins_with else "")
        for one in many
    ]
    bars(
        axes,
        groups,
        [
            (name, [getattr(one, name) for one in many], [_apart(one, name) for one in many])
            for name in shown(document)
        ],
    )
    if len(many) == 1:
        axes.set_xlim(-1.2, 1.2)
    for container in axes.containers:
        if len(many) <= 4 and hasattr(container, "datavalues"):
            axes.bar_label(container, fmt="{:.4g}", padding=2, fontsize=8)  # type: ignore[arg-type]
    axes.set_ylabel("perplexity, with 95% interval" if _known(document) else "perplexity")
    legend(figure, axes)
    return figure


def _apart(one: Perplexity, name: ModelName) -> tuple[float, float] | None:
    interval, value = getattr(one, f"{name}_interval"), getattr(one, name)
    return None if interval is None or value is None else apart(value, interval)


def _known(document: Document) -> bool:
    return any(one.dense_interval is not None for one in document.perplexity)


def _tasks(document: Document) -> Figure:
    """Horizontal bars, because task names are long and there may be many."""
    many = document.tasks
    names = [name for name in NAMES if any(getattr(one, name) is not None for one in many)]
    figure, (axes,) = canvas(0.9 + len(many) * (0.16 + 0.13 * len(names)))
    height = 0.8 / max(len(names), 1)
    for place, name in enumerate(names):
        values = [getattr(one, name) or 0.0 for one in many]
        errors = [getattr(one, f"{name}_error") or 0.0 for one in many]
        at = [index + (place - (len(names) - 1) / 2) * height for index in range(len(many))]
        axes.barh(
            at,
            values,
            height * 0.9,
            xerr=errors if any(errors) else None,
            color=COLOURS[name],
            label=name,
            error_kw=ERROR,
        )
    axes.set_yticks(range(len(many)), [_scored(one) for one in many])
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score, with one standard error")
    legend(figure, axes)
    return figure


def _scored(one: Score) -> str:
    return f"{label(named(one))} ({label(one.metric, 12)})" if one.metric else label(named(one))


MEASURES: tuple[tuple[str, str, str | None, float], ...] = (
    ("prefill, ms", "prefill_ms", "prefill_spread_ms", 1),
    ("decode, ms a token", "decode_ms_per_token", "decode_spread_ms", 1),
    ("tokens a second", "tokens_per_second", None, 1),
    ("peak memory, MiB", "peak_memory_bytes", None, 2**20),
)


def _inference(document: Document) -> Figure:
    """One small plot per measure; bars are grouped by loader, batch and lengths."""
    settings = list(dict.fromkeys(map(_setting, document.inference)))
    names = [name for name in NAMES if any(one.model == name for one in document.inference)]
    rows = {(one.model, _setting(one)): one for one in document.inference}
    figure, many = canvas(2.5, len(MEASURES))
    for axes, (title, field, spread, unit) in zip(many, MEASURES, strict=True):

        def of(name: str, what: str | None, unit: float = unit) -> list[float | None]:
            found = (rows.get((name, setting)) for setting in settings)
            values = [getattr(one, what) if one and what else None for one in found]
            return [None if value is None else value / unit for value in values]

        bars(axes, [_short(one, settings) for one in settings],
             [(name, of(name, field), of(name, spread, 2 * unit)) for name in names])  # fmt: skip
        axes.set_title(title, loc="left")
        axes.set_xlabel("batch")
    legend(figure, many[0])
    return figure


def _setting(one: InferenceTiming) -> tuple[str, int, int | None, int | None]:
    return one.loader, one.batch, one.prompt_tokens, one.new_tokens


def _short(setting: tuple[Any, ...], among: Sequence[tuple[Any, ...]]) -> str:
    """The batch size, and the loader if there are several."""
    several = len({one[0] for one in among}) > 1
    return f"{setting[1]}\n{label(setting[0], 8)}" if several else str(setting[1])


def _has_curves(document: Document) -> bool:
    return document.recovery is not None and bool(document.recovery.curves)


def _curves(document: Document) -> Figure:
    """Figure 5 of the paper: losses during recovery."""
    assert document.recovery is not None
    figure, (axes,) = canvas(2.7)
    for name, field, colour in (
        ("training", "train", "dense"),
        ("evaluation text", "text", "pruned"),
        ("held-out rows", "lessons", "recovered"),
    ):
        points = [
            (one.step, getattr(one, field))
            for one in document.recovery.curves
            if getattr(one, field) is not None
        ]
        if points:
            steps, values = zip(*points, strict=True)
            line(axes, steps, values, name, colour)
    axes.set_ylabel("nats a token")
    depth(figure, axes)
    axes.set_xlabel("step")
    return figure


def _stages(document: Document) -> Figure:
    stages, seconds = zip(*document.seconds.items(), strict=True)
    figure, (axes,) = canvas(0.7 + 0.26 * len(stages))
    container = axes.barh([label(stage) for stage in stages], seconds, 0.7, color=COLOURS["pruned"])
    axes.bar_label(container, fmt="{:,.1f} s", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("seconds")
    return figure
