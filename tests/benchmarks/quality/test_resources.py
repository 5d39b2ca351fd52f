"""The memory of methods that hold a known amount of it."""

from __future__ import annotations

import mmap
from typing import Any

import pytest
from torch import Tensor

from benchmarks.quality import methods, resources
from benchmarks.quality.subjects import subject
from slimgpt.errors import SpecError

HELD = 192


def nothing(model: Any, windows_NS: Tensor, target: int) -> str:
    return "as it was"


def hoards(model: Any, windows_NS: Tensor, target: int) -> str:
    """Fresh pages, which no freed memory of this process can stand in for."""
    with mmap.mmap(-1, HELD << 20) as pages:
        for at in range(0, len(pages), mmap.PAGESIZE):
            pages[at] = 1
    return ""


def impossible(case: methods.Case) -> methods.Pruned:
    raise SpecError("it holds too little", hint="choose a smaller ratio")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    made = {name: methods.in_memory(peer) for name, peer in
            {"nothing": nothing, "hoards": hoards, "nothing again": nothing}.items()}  # fmt: skip
    monkeypatch.setattr(resources, "METHODS", made | {"impossible": impossible})
    names = [*made, "impossible"]
    return {name: resources.measure(subject("model"), name, 0.2, 4) for name in names}


def test_what_a_method_holds_is_its_own(rows: dict[str, dict[str, Any]]) -> None:
    taken = {name: row["peak MiB"] - row["libraries MiB"] for name, row in rows.items()
             if row["peak MiB"] != ""}  # fmt: skip
    assert HELD <= taken["hoards"] < 1.5 * HELD
    assert taken["nothing again"] < HELD / 2
    assert rows["nothing"]["note"] == "as it was"
    assert rows["impossible"]["note"].startswith("not possible: it holds too little")
    assert len({tuple(row) for row in rows.values()}) == 1  # one table
