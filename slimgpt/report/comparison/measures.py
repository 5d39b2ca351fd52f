"""`measures`: by what the compared models can be compared.

Perplexities are comparable only on the same windows of tokens, which their SHA-256 tells; scores
only on the same questions; times only at one setting. Reports that share what they were measured
on share a measure. Where windows differ, each model is instead compared with the dense model on its
own windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slimgpt.events import Interval, ModelName
from slimgpt.report.comparison.rows import Row
from slimgpt.report.document import NAMES
from slimgpt.report.tables.cells import printable

DIGITS = 8
"""Digits of a SHA-256 that are shown."""


@dataclass(frozen=True)
class Reading:
    """A value of one model; `at` is its JSON pointer in the list of rows, empty if derived."""

    value: float
    interval: Interval | None = None
    at: str = ""


Readings = Mapping[ModelName, Reading]


@dataclass(frozen=True)
class Measure:
    """One number by which models are compared.

    Attributes:
        title: what was measured, and on what.
        readings: of each row in order, by model; empty where it was not measured.
        relative: whether the values are multiples of each model's own dense value.
        plotted: whether it is plotted over the ratio.
    """

    title: str
    readings: Sequence[Readings]
    relative: bool = False
    plotted: bool = True

    @property
    def models(self) -> list[ModelName]:
        """The models for which at least one row has a value, the dense one first."""
        return [name for name in NAMES if any(name in one for one in self.readings)]


def measures(compared: Sequence[Row]) -> list[Measure]:
    """All measures of the rows: perplexities, means of tasks, times."""
    return [*_perplexities(compared), *_tasks(compared), *_times(compared)]


def _perplexities(compared: Sequence[Row]) -> list[Measure]:
    """For each text and length: one measure if all windows are the same. Otherwise one for windows
    that several reports share, and one of multiples for all."""
    texts: dict[str, dict[Hashable, list[tuple[int, int]]]] = {}
    names: dict[Hashable, str] = {}
    for index, row in enumerate(compared):
        for place, one in enumerate(row["perplexity"]):
            # Without a hash nothing says that another report has the same windows.
            windows: Hashable = one["sha256"] or (index, place)
            title = names.setdefault(windows, _title(one))
            texts.setdefault(title, {}).setdefault(windows, []).append((index, place))
    found: list[Measure] = []
    for title, by_windows in texts.items():
        several = len(by_windows) > 1
        for windows, places in by_windows.items():
            which = f", windows {str(windows)[:DIGITS]}" if several else ""
            if not several or len(places) > 1:
                found.append(Measure(f"Perplexity on {title}{which}", _absolute(compared, places)))
        if several:
            everywhere = [place for places in by_windows.values() for place in places]
            multiple = f"Multiple of the dense model's perplexity on {title}, each on its windows"
            found.append(Measure(multiple, _relative(compared, everywhere), relative=True))
    return found


def _title(one: Row) -> str:
    begin = f" from {one['begins_with']}" if one["begins_with"] else ""
    return printable(f"{one['text']}, {one['sequence_length']} tokens{begin}")


def _absolute(compared: Sequence[Row], places: Iterable[tuple[int, int]]) -> list[Readings]:
    found: list[dict[ModelName, Reading]] = [{} for _ in compared]
    for index, place in places:
        one = compared[index]["perplexity"][place]
        found[index] = {
            name: Reading(one[name], one[f"{name}_interval"], f"/{index}/perplexity/{place}/{name}")
            for name in NAMES
            if one[name] is not None
        }
    return list(found)


def _relative(compared: Sequence[Row], places: Iterable[tuple[int, int]]) -> list[Readings]:
    found: list[dict[ModelName, Reading]] = [{} for _ in compared]
    for index, place in places:
        one = compared[index]["perplexity"][place]
        found[index] = {
            name: Reading(one[name] / one["dense"], one[f"{name}_ratio_interval"])
            for name in NAMES[1:]
            if one[name] is not None
        }
    return list(found)


def _tasks(compared: Sequence[Row]) -> Iterator[Measure]:
    """The mean of the tasks, one measure for each set of questions."""
    sets = _grouped(compared, "asked", "tasks")
    for questions, readings in sets.items():
        title = f"Tasks, mean of {questions.count('], [') + 1}"
        if len(sets) > 1:
            title += f", questions {hashlib.sha256(questions.encode()).hexdigest()[:DIGITS]}"
        yield Measure(title, readings)


def _times(compared: Sequence[Row]) -> Iterator[Measure]:
    for setting, readings in _grouped(compared, "timed", "decode_ms_per_token").items():
        yield Measure(printable(f"ms/token, {setting}"), readings, plotted=False)


def _grouped(compared: Sequence[Row], by: str, field: str) -> dict[str, list[Readings]]:
    """The readings of a field, for each value that the rows have in another."""
    groups: dict[str, list[Readings]] = {}
    for index, row in enumerate(compared):
        if row[field]:
            group = groups.setdefault(str(row[by]), [{} for _ in compared])
            group[index] = {
                name: Reading(row[field][name], at=f"/{index}/{field}/{name}")
                for name in NAMES
                if name in row[field]
            }
    return groups
