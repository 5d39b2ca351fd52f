"""Comparison page of several reports: a table sorted by ratio, and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from slimgpt.events import ModelName
from slimgpt.report.document import NAMES, Document, InferenceTiming
from slimgpt.report.html_page import fill
from slimgpt.report.plots.canvas import canvas, legend
from slimgpt.report.plots.plots import Plot
from slimgpt.report.plots.svg import COLOURS, drawing, inline, label
from slimgpt.report.tables.cells import Cell, Table, number, printable, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.")
Row = dict[str, Any]
Key = tuple[str, int, str]
"""Text, tokens per window, prepended tokens: perplexities are comparable if all three agree."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """A report with the name that the user gave."""

    name: str
    document: Document


def rows(entries: Sequence[Entry]) -> list[Row]:
    """One row for each report, the least pruned model first; None: not measured."""
    made = [_row(entry) for entry in entries]
    return sorted(made, key=lambda row: (row["ratio"], row["model"], row["method"]))


def table(compared: Sequence[Row]) -> Table:
    """The rows as a table. JSON pointers refer to the list of rows."""
    keys = _keys(compared)
    tasks = any(row["tasks"] for row in compared)
    decode = any(row["decode_ms_per_token"] for row in compared)
    header = ["Report", "Model", "Method", "Removed", "Parameters", "Weights"]
    header += [f"{_measured(key)}: {name}" for key, name in keys]
    header += [f"Tasks, mean: {name}" for name in NAMES if tasks and _any(compared, "tasks", name)]
    header += [
        f"ms/token: {n}" for n in NAMES if decode and _any(compared, "decode_ms_per_token", n)
    ]
    header += ["Time", "Peak memory"]
    cells = [_cells(index, row, compared, keys) for index, row in enumerate(compared)]
    note = (
        "Perplexities are comparable if window length and prepended tokens are the same; lower is "
        "better. Tasks: mean of each task's first metric, comparable if the tasks are the same; "
        "higher is better. ms/token: at the smallest batch. Time: sum of the stages."
    )
    return Table("comparison", "Comparison", [printable(name) for name in header], cells, note)


def page(compared: Sequence[Row], verdict: str = "") -> str:
    """The comparison as a self-contained HTML page.

    Args:
        verdict: summary at the top of the page.
    """
    content = {"table": table(compared), "plots": plots(compared), "rows": compared}
    return fill("comparison.html.j2", verdict=verdict, **content)


def plots(compared: Sequence[Row]) -> list[Plot]:
    """Perplexity over ratio for every text and length, and the mean of the tasks."""
    measures: list[tuple[str, str, Callable[[Row, ModelName], float | None]]] = []
    for place, of_models in enumerate(dict.fromkeys(key for key, _ in _keys(compared))):
        title = f"Perplexity on {label(_measured(of_models, ' tokens'), 48)}"

        def measured(row: Row, name: ModelName, key: Key = of_models) -> float | None:
            return _perplexity(row, key, name)

        measures.append((f"perplexity-{place}", title, measured))
    if any(row["tasks"] for row in compared):
        measures.append(("tasks", "Mean of the tasks", lambda row, name: row["tasks"].get(name)))
    behind = "The numbers are in the table of this page."
    with drawing():
        return [
            Plot(name, "comparison", title, inline(_over_ratio(compared, of), name, title, behind))
            for name, title, of in measures
        ]


def _row(entry: Entry) -> Row:
    document, model = entry.document, entry.document.model
    leaves = {one.task: one for one in reversed(document.tasks) if one.task != one.group}
    scores = {name: [getattr(one, name) for one in leaves.values()] for name in NAMES}
    timed = _comparable(document)
    least = min((one.batch for one in timed), default=None)
    return {
        "name": entry.name,
        "model": model.model,
        "method": str(document.spec.get("method", "slimgpt")),
        "ratio": model.ratio_achieved,
        "parameters": model.parameters_after,
        "bytes": model.bytes_after,
        "published": document.published,
        "perplexity": [
            one.model_dump(include={"text", "sequence_length", "begins_with", *NAMES})
            for one in document.perplexity
        ],
        "tasks": {
            name: mean(values) for name, values in scores.items() if values and None not in values
        },
        "decode_ms_per_token": {
            one.model: one.decode_ms_per_token
            for one in timed
            if one.batch == least and one.decode_ms_per_token is not None
        },
        "seconds": sum(document.seconds.values()),
        "peak_memory_bytes": document.peak_memory_bytes,
        "verdict": document.verdict,
    }


def _comparable(document: Document) -> list[InferenceTiming]:
    """The times measured with transformers; those of other loaders are in each report."""
    return [one for one in document.inference if not one.loader.startswith("vllm")]


def _key(one: Row) -> Key:
    return one["text"], one["sequence_length"], one["begins_with"]


def _measured(key: Key, unit: str = "") -> str:
    text, length, begins_with = key
    return f"{text}, {length}{unit}" + (f" from {begins_with}" if begins_with else "")


def _keys(compared: Sequence[Row]) -> list[tuple[Key, ModelName]]:
    """The key and model of every perplexity that at least one row has."""
    found: dict[Key, set[ModelName]] = {}
    for row in compared:
        for one in row["perplexity"]:
            key = _key(one)
            found.setdefault(key, set()).update(n for n in NAMES if one[n] is not None)
    return [(key, name) for key, names in found.items() for name in NAMES if name in names]


def _any(compared: Sequence[Row], field: str, name: str) -> bool:
    return any(name in row[field] for row in compared)


def _perplexity(row: Row, key: Key, name: ModelName) -> float | None:
    for one in row["perplexity"]:
        if _key(one) == key:
            value: float | None = one[name]
            return value
    return None


def _cells(
    index: int, row: Row, compared: Sequence[Row], keys: Sequence[tuple[Key, ModelName]]
) -> list[Cell]:
    cells = [
        words(row["name"]),
        words(row["model"]),
        words(row["method"]),
        number(row["ratio"], f"/{index}/ratio", "percent"),
        number(row["parameters"], f"/{index}/parameters", "count"),
        number(row["bytes"], f"/{index}/bytes", "size"),
    ]
    places = {_key(one): place for place, one in enumerate(row["perplexity"])}
    for key, name in keys:
        at = f"/{index}/perplexity/{places.get(key)}/{name}"
        cells.append(number(_perplexity(row, key, name), at))
    for field in ("tasks", "decode_ms_per_token"):
        for name in NAMES:
            if _any(compared, field, name):
                cells.append(number(row[field].get(name), f"/{index}/{field}/{name}"))
    cells.append(number(row["seconds"], f"/{index}/seconds", "seconds"))
    cells.append(number(row["peak_memory_bytes"], f"/{index}/peak_memory_bytes", "size"))
    return cells


def _over_ratio(compared: Sequence[Row], of: Callable[[Row, ModelName], float | None]) -> Figure:
    figure, (axes,) = canvas(3.0)
    several = len({row["model"] for row in compared}) > 1
    dense: list[Point] = []
    for place, (model, method) in enumerate(
        dict.fromkeys((row["model"], row["method"]) for row in compared)
    ):
        mine = [row for row in compared if (row["model"], row["method"]) == (model, method)]
        dense += [(0.0, value) for row in mine if (value := of(row, "dense")) is not None]
        for name in NAMES[1:]:
            points = [(row["ratio"], v) for row in mine if (v := of(row, name)) is not None]
            if points:
                what = f"{label(model, 20)}, {method}" if several else method
                style = STYLES[place % len(STYLES)]
                axes.plot(*zip(*points, strict=True), style, color=COLOURS[name], marker="o",
                          markersize=4, label=f"{what}, {name}")  # fmt: skip
    if dense:
        axes.plot(*zip(*dict.fromkeys(dense), strict=True), "s", color=COLOURS["dense"],
                  markersize=5, label="dense")  # fmt: skip
    axes.set_xlabel("share of parameters removed")
    axes.set_xlim(left=-0.01)
    legend(figure, axes)
    return figure
