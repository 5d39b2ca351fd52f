"""The tables of a comparison: one of everything for the terminal, and for the page one of the
models and one of each measure, which are narrow enough for any screen."""

from __future__ import annotations

from collections.abc import Sequence

from slimgpt.events import ModelName
from slimgpt.report.comparison.measures import Measure, measures
from slimgpt.report.comparison.rows import Row
from slimgpt.report.tables.cells import Cell, Table, between, derived, number, printable, words

SHARED = (
    "Perplexities share a line only if their windows are the same tokens (by SHA-256), scores only "
    "if their questions are, times only at the same setting: batch, lengths, loader, device."
)
MULTIPLES = (
    "Windows differ, so each model is compared with the dense model on its own windows. Texts of "
    "different difficulty give somewhat different multiples."
)
MEANING = (
    "Tasks: mean of each task's first metric, higher is better; else lower is better. ms/token: at "
    "the smallest batch. Time: sum of the stages in the report."
)
FACTS = ("Report", "Model", "Method", "Removed", "Parameters", "Weights")
COSTS = ("Time", "Peak memory", "Device")


def table(compared: Sequence[Row]) -> Table:
    """All numbers of the rows. JSON pointers refer to the list of rows."""
    found = measures(compared)
    header = [*FACTS, *(f"{one.title}: {name}" for one in found for name in one.models), *COSTS]
    cells = []
    for index, row in enumerate(compared):
        values = [_cell(one, index, name) for one in found for name in one.models]
        cells.append([*_facts(index, row), *values, *_costs(index, row)])
    relative = [MULTIPLES] if any(one.relative for one in found) else []
    note = " ".join([SHARED, *relative, MEANING])
    return Table("comparison", "Comparison", [printable(name) for name in header], cells, note)


def models(compared: Sequence[Row]) -> Table:
    """Sizes and costs of the compared models."""
    cells = [[*_facts(index, row), *_costs(index, row)] for index, row in enumerate(compared)]
    return Table("models", "Models", [*FACTS, *COSTS], cells, f"{SHARED} {MEANING}")


def of_measure(compared: Sequence[Row], measure: Measure, name: str) -> Table:
    """The values of one measure, and their intervals where there are any.

    Args:
        name: of the table, unique in the page.
    """
    known = [
        model for model in measure.models
        if any(model in one and one[model].interval for one in measure.readings)
    ]  # fmt: skip
    header = ["Report", "Removed"]
    for model in measure.models:
        header += [model.capitalize(), *(["95% interval"] if model in known else [])]
    cells = []
    for index, row in enumerate(compared):
        if not measure.readings[index]:
            continue
        mine = [words(row["name"]), number(row["ratio"], f"/{index}/ratio", "percent")]
        for model in measure.models:
            mine.append(_cell(measure, index, model))
            if model in known:
                reading = measure.readings[index].get(model)
                mine.append(between(reading.interval if reading else None))
        cells.append(mine)
    note = MULTIPLES if measure.relative else ""
    return Table(name, measure.title, header, cells, note)


def _facts(index: int, row: Row) -> list[Cell]:
    return [
        words(row["name"]),
        words(row["model"]),
        words(row["method"]),
        number(row["ratio"], f"/{index}/ratio", "percent"),
        number(row["parameters"], f"/{index}/parameters", "count"),
        number(row["bytes"], f"/{index}/bytes", "size"),
    ]


def _costs(index: int, row: Row) -> list[Cell]:
    return [
        number(row["seconds"], f"/{index}/seconds", "seconds"),
        number(row["peak_memory_bytes"], f"/{index}/peak_memory_bytes", "size"),
        words(row["device"] or "–"),
    ]


def _cell(measure: Measure, index: int, name: ModelName) -> Cell:
    reading = measure.readings[index].get(name)
    if reading is None:
        return derived(None, "number")
    if measure.relative:
        return derived(reading.value, "times")
    return number(reading.value, reading.at)
