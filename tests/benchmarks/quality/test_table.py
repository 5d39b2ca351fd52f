"""Rows that a later run finds again, and the shares of the paper's excess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.quality import table
from benchmarks.quality.table import Table, excess, find, shown

ROW: dict[str, Any] = {
    "ratio": 0.2,
    "method": "paper",
    "samples": 128,
    "seed": 0,
    "parameters": 80,
    "perplexity": {"C4": 50.0},
    "top1": {"C4": 0.5},
    "agreed": 0.25,
    "repeated": 0.1,
    "questions": 0,
    "tasks": {},
    "seconds": 3.0,
    "note": "",
}
DENSE = ROW | {"ratio": 0.0, "method": "dense", "samples": 0, "perplexity": {"C4": 30.0}}


def test_the_share_of_the_papers_excess() -> None:
    flap = ROW | {"method": "flap", "perplexity": {"C4": 40.0}}
    other_seed = ROW | {"method": "flap", "seed": 1}
    rows = [DENSE, ROW, flap, other_seed]
    assert excess(flap, rows, "C4") == pytest.approx(0.5)
    assert excess(ROW, rows, "C4") == 1
    assert excess(other_seed, rows, "C4") == ""  # the paper's was not measured with it
    assert excess(flap, rows, "WikiText-2") == ""


def test_rows_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    first = Table("tiny", {"windows": 40})
    first.add(ROW)
    first.add(DENSE)
    failed = ROW | {"method": "slicegpt", "perplexity": {}, "parameters": None, "note": "why"}
    first.add(failed)
    later = Table("tiny", {"windows": 40})
    assert later.rows == [DENSE, ROW, failed]
    assert find(later.rows, ROW | {"note": "another"}) == ROW
    assert find(later.rows, ROW | {"seed": 1}) is None
    later.add(ROW | {"note": "again"})
    assert [row["note"] for row in Table("tiny", {"windows": 40}).rows] == ["", "again", "why"]
    assert Table("tiny", {"windows": 41}).rows == []
    assert (tmp_path / "quality-tiny.svg").read_text().count("<svg") == 1
    page = later.page.read_text()
    assert "| 0.2 | slicegpt |  |" in page


def test_a_row_without_tasks_stands_beside_one_with_them() -> None:
    asked = ROW | {"seed": 1, "questions": 50, "tasks": {"boolq": [0.625, 0.068]}}
    first, second = shown([ROW, asked])
    assert list(first) == list(second)
    assert (first["boolq"], second["boolq"]) == ("", "0.625 ± 0.068")
    assert table.KEY == ("method", "ratio", "samples", "seed")
