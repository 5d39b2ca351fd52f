"""The table of a model: rows kept as they come, found again by a later run, and shown.

A row is known by method, ratio, calibration windows and their seed. What lies beside the rows as
settings must be the same, or the rows cannot be compared: the table then begins anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.quality import plot
from benchmarks.quality.methods import BASIS
from benchmarks.quality.plot import DENSE, Over

KEY = ("method", "ratio", "samples", "seed")
Row = dict[str, Any]


class Table:
    """Rows of one model in `benchmarks/results/quality-MODEL.json`, `.md` and `.svg`.

    Args:
        model: the subject's name.
        settings: what all rows were measured with.
        name: the files', in place of `quality-MODEL`.
        over: the horizontal axis of the plot.
    """

    def __init__(
        self,
        model: str,
        settings: Mapping[str, Any],
        name: str | None = None,
        over: Over = "ratio",
    ) -> None:
        self.name = name or f"quality-{model}"
        self._over = over
        self.settings = {**settings}
        self.rows: list[Row] = []
        file = results.FOLDER / f"{self.name}.json"
        if file.is_file():
            document = json.loads(file.read_text(encoding="utf-8"))
            if document["settings"] == self.settings:
                self.rows = document["rows"]

    @property
    def page(self) -> Path:
        """The file for people."""
        return results.FOLDER / f"{self.name}.md"

    def add(self, row: Row) -> None:
        """Keep a row, in place of an older one of its key, and write all."""
        known = find(self.rows, row)
        if known is None:
            self.rows.append(row)
        else:
            self.rows[self.rows.index(known)] = row
        self.rows.sort(key=lambda one: (one["ratio"], one["samples"], one["seed"]))
        plot.write(results.FOLDER / f"{self.name}.svg", self.rows, self._over)
        results.write(
            self.name,
            self.settings,
            self.rows,
            shown=shown(self.rows),
            after=f"\n![Perplexity by {self._over} and method]({self.name}.svg)\n",
        )


def find(rows: Sequence[Row], key: Mapping[str, Any]) -> Row | None:
    """The row of such a key, if it is among them."""
    return next((row for row in rows if all(row[k] == key[k] for k in KEY)), None)


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows as people read them, all with the same columns."""
    tasks = {task: None for row in rows for task in row["tasks"]}
    return [
        {
            "ratio": row["ratio"],
            "method": row["method"],
            "parameters": _or_empty(row["parameters"]),
            **_texts(row, rows),
            "continued alike": _or_empty(row["agreed"]),
            "repeated 4-grams": _or_empty(row["repeated"]),
            **{task: _score(row["tasks"].get(task)) for task in tasks},
            "seconds": row["seconds"],
            "windows": row["samples"],
            "seed": row["seed"],
            "note": row["note"],
        }
        for row in rows
    ]


def _texts(row: Row, rows: Sequence[Row]) -> Row:
    """Perplexities, their share of the paper's excess, and first choices, by text."""
    names = list(dict.fromkeys(name for one in rows for name in one["perplexity"]))
    cells: Row = {name: row["perplexity"].get(name, "") for name in names}
    cells |= {f"{name}, of the paper's excess": excess(row, rows, name) for name in names}
    return cells | {f"{name}, top-1": row["top1"].get(name, "") for name in names}


def excess(row: Row, rows: Sequence[Row], text: str) -> float | str:
    """A row's excess of perplexity over the dense model, as a share of the paper's.

    Empty where one of the three was not measured.
    """
    alike = [one for one in rows if all(one[k] == row[k] for k in KEY if k != "method")]
    paper = [one["perplexity"].get(text) for one in alike if one["method"] == BASIS]
    dense = [one["perplexity"].get(text) for one in rows if one["method"] == DENSE]
    mine = row["perplexity"].get(text)
    if not (paper and dense and mine and paper[0] and dense[0]):
        return ""
    return float((mine - dense[0]) / (paper[0] - dense[0]))


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _score(found: Sequence[float] | None) -> str:
    if found is None:
        return ""
    value, error = found
    return f"{value:.3f} ± {error:.3f}"
