"""The published tally is that which was measured, and no fault is left out of it by chance."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks import results
from benchmarks.fault_tally import PAGE
from benchmarks.faults import FITTING, chosen, place_of
from tests.faults.faults import FAULTS


@pytest.mark.parametrize("name", ["faults", "cancel"])
def test_the_documentation_tells_what_was_measured(name: str) -> None:
    measured = json.loads((results.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert results.table(measured["rows"]) in PAGE.read_text(encoding="utf-8")


def test_nothing_was_violated() -> None:
    measured = json.loads((results.FOLDER / "faults.json").read_text(encoding="utf-8"))
    assert [row["fault"] for row in measured["rows"] if row["violations"]] == []


def test_every_fault_has_its_turn() -> None:
    done = Counter((place_of(number), chosen(7, number)) for number in range(400))
    for place, names in FITTING.items():
        counts = [done[place, name] for name in names]
        assert max(counts) - min(counts) <= 1
    assert {name for names in FITTING.values() for name in names} == set(FAULTS)
