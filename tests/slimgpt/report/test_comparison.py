"""Only what was measured on the same tokens shares a column, an axis or a line."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from slimgpt.report import document
from slimgpt.report.comparison.measures import Measure, measures
from slimgpt.report.comparison.page import page
from slimgpt.report.comparison.plots import over_ratio
from slimgpt.report.comparison.rows import Entry, Row, rows
from slimgpt.report.comparison.table import table
from slimgpt.report.plots.svg import drawing
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.report.sample import report


def entry(name: str, ratio: float, mark: str, dense: float, **changes: Any) -> Entry:
    """A report whose texts have windows with this SHA-256 and this dense perplexity."""
    content = report(2, ratio=ratio) | changes
    for one in content["perplexity"]:
        one |= {"sha256": mark and mark + str(one["sequence_length"]), "dense": dense}
        one |= {"pruned": dense * (1 + ratio), "recovered": None}
        one |= {"pruned_ratio_interval": [1 + ratio - 0.1, 1 + ratio + 0.1]}
    content["recovery"] = None
    return Entry(name, document.of(content, name))


def named(compared: list[Row], words: str) -> list[Measure]:
    return [one for one in measures(compared) if words in one.title]


def test_equal_windows_share_a_column() -> None:
    compared = rows([entry("a", 0.2, "x", 42.9), entry("b", 0.5, "x", 42.9)])
    (one,) = named(compared, "org/model-7b, 128 tokens")
    assert not one.relative
    assert [reading["pruned"].value for reading in one.readings] == [42.9 * 1.2, 42.9 * 1.5]


def test_different_windows_of_one_text_are_compared_by_multiples_and_it_is_said() -> None:
    """Seen: dense 42.9, 45.3, 50.0 and 63.9 of one model side by side as if they were one text."""
    dense = [42.9, 45.3, 50.0, 63.9]
    compared = rows([entry(str(n), 0.1 + n / 10, f"h{n}-", v) for n, v in enumerate(dense)])
    (one,) = named(compared, "org/model-7b, 128 tokens")
    assert one.relative
    assert "each on its windows" in one.title
    ratios = [reading["pruned"].value for reading in one.readings]
    assert ratios == pytest.approx([1.1, 1.2, 1.3, 1.4])
    assert one.readings[0]["pruned"].interval == pytest.approx((1.0, 1.2))
    shown = table(compared)
    assert "compared with the dense model on its own windows" in shown.note
    texts = [cell.text for row in shown.rows for cell in row]
    assert "×1.2" in texts
    assert not {"42.9", "45.3", "50", "63.9"} & set(texts)
    assert "63.9" not in re.sub(r"<svg.*?</svg>", "", page(compared), flags=re.DOTALL)


def test_those_that_share_windows_keep_their_column_beside_one_that_does_not() -> None:
    same = [entry("a", 0.2, "x", 42.9), entry("b", 0.3, "x", 42.9)]
    compared = rows([*same, entry("c", 0.5, "y", 63.9)])
    shared, multiples = named(compared, "org/model-7b, 128 tokens")
    assert (shared.relative, multiples.relative) == (False, True)
    assert "windows x128" in shared.title
    assert [bool(one) for one in shared.readings] == [True, True, False]
    assert [bool(one) for one in multiples.readings] == [True, True, True]


def test_reports_that_kept_no_hash_are_alone_each() -> None:
    old = rows([entry("a", 0.2, "", 42.9), entry("b", 0.3, "", 42.9)])
    assert all(one.relative for one in named(old, "org/model-7b, "))
    (single,) = named(rows([entry("a", 0.2, "", 42.9)]), "org/model-7b, 128 tokens")
    assert not single.relative


def test_the_same_windows_under_two_names_are_the_same() -> None:
    one, other = entry("a", 0.2, "x", 42.9), entry("b", 0.3, "x", 42.9)
    other.document.perplexity[0].__dict__["text"] = "another name"
    (shared,) = named(rows([one, other]), "org/model-7b, 128 tokens")
    assert [bool(reading) for reading in shared.readings] == [True, True]


def test_scores_on_other_questions_and_times_at_other_settings_stand_apart() -> None:
    asked = report(2)["tasks"]
    fewer = [one | {"samples": 100} for one in asked]
    slower = [one | {"batch": one["batch"] + 1} for one in report(2)["inference"]]
    compared = rows(
        [entry("a", 0.2, "x", 42.9), entry("b", 0.3, "x", 42.9, tasks=fewer, inference=slower)]
    )
    for words in ("Tasks, mean of 8", "ms/token"):
        apart = named(compared, words)
        assert [[bool(one) for one in each.readings] for each in apart] == [
            [True, False], [False, True],
        ]  # fmt: skip


BY: dict[str, dict[str, Any]] = {
    "slimgpt, recipe paper": {"recipe": "paper"},
    "slimgpt, recipe measured": {"recipe": "measured"},
    "slimgpt, recipe measured, schedule uniform": {"recipe": "measured", "head_unit": "kv_group",
                                                   "schedule": {"shape": "uniform"}},
    "slimgpt": {"schedule": {"shape": "log"}},
    "slimgpt, schedule uniform": {"formats": ["uniform"]},
    "magnitude": {"method": "magnitude"},
    "flap, schedule log": {"method": "flap", "schedule": {"shape": "log"}},
}  # fmt: skip
"""What tells a job by these fields from the others."""


def test_runs_by_different_recipes_are_told_apart_in_the_table_and_the_plot() -> None:
    """Seen: a measured run between two of the paper's, and one line that went through all three."""
    entries = []
    for name, fields in BY.items():
        spec = PruneSpec.model_validate({"model": "org/model-7b", "ratio": 0.2, **fields})
        for ratio in (0.2, 0.3):
            entries.append(entry(name, ratio, "x", 42.9, spec=spec.model_dump(mode="json")))
    compared = rows(entries)
    shown = table(compared)
    cells = [[cell.text for cell in row] for row in shown.rows]
    method = shown.header.index("Method")
    assert all(row[method] == row[0] for row in cells)
    with drawing():
        figure = over_ratio(compared, named(compared, "org/model-7b, 128 tokens")[0])
    lines = {
        str(line.get_label()): len(np.asarray(line.get_xdata()))
        for line in figure.axes[0].lines
        if str(line.get_label()).endswith(", pruned")
    }
    assert set(lines) == {f"{name}, pruned" for name in BY}
    assert set(lines.values()) == {2}  # points each


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "slimgpt"),
        ({"method": "new", "schedule": "odd"}, "new"),
        ({"recipe": 7, "schedule": {"shape": None}}, "slimgpt, recipe 7"),
    ],
)
def test_a_report_of_another_version_has_some_method(spec: dict[str, Any], words: str) -> None:
    assert rows([entry("a", 0.2, "x", 42.9, spec=spec)])[0]["method"] == words


def test_legends_stay_within_the_figure_and_no_two_lines_look_alike() -> None:
    methods = ("slimgpt", "wanda-sp", "flap", "magnitude")
    entries = [
        entry(f"{model}{method}{ratio}", ratio, "x", 42.9,
              model=report(2, f"organisation/a-long-name-{model}", ratio)["model"],
              spec={"method": method, "recipe": "measured", "schedule": {"shape": "uniform"}})
        for model in "ab" for method in methods for ratio in (0.2, 0.5)
    ]  # fmt: skip
    compared = rows(entries)
    measure = next(one for one in measures(compared) if one.plotted)
    with drawing():
        figure = over_ratio(compared, measure)
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert whole.y0 <= box.y0
    assert box.y1 <= whole.y1
    lines = [one for one in figure.axes[0].lines if str(one.get_label()).endswith("pruned")]
    looks = {(str(one.get_color()), str(one.get_marker())) for one in lines}
    assert len(looks) == len(lines) == 8
    assert figure.axes[0].get_window_extent().height > 100


def test_no_table_of_the_page_is_wider_than_a_screen() -> None:
    compared = rows([entry(f"job-{n}", 0.1 + n / 20, f"h{n}", 40.0 + n) for n in range(10)])
    heads = re.findall(r"<thead>.*?</thead>", page(compared), re.DOTALL)
    assert heads
    assert max(head.count("<th ") for head in heads) <= 9
