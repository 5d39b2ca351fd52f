"""Rows of methods whose result is known: one that removes nothing, one that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.quality import texts
from benchmarks.quality.bench import Bench
from benchmarks.quality.methods import METHODS, Case, Method, Pruned, in_memory
from benchmarks.quality.subjects import subject
from benchmarks.quality.table import Row, excess
from slimgpt.errors import SpecError


def nothing(model: Any, windows_NS: Tensor, target: int) -> str:
    assert windows_NS.shape == (4, 256)
    assert target == round(0.8 * sum(one.numel() for one in model.parameters()))
    return ""


def impossible(case: Case) -> Pruned:
    raise SpecError("it holds too little", hint="choose a smaller ratio")


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    monkeypatch.setattr(texts, "WINDOWS", 3)
    methods: dict[str, Method] = {"nothing": in_memory(nothing), "impossible": impossible}
    methods["llm-pruner"] = METHODS["llm-pruner"]
    measured = Bench(subject("model"), torch.device("cpu"), cache=tmp_path, methods=methods)
    cells = [(0.2, name) for name in methods]
    found = list(measured.rows(cells, samples=4, seed=0, known=[]))
    again = Bench(subject("model"), torch.device("cpu"), cache=tmp_path, methods=methods)
    assert again.settings == measured.settings
    # The dense model's measures come from the cache, and what is known is not measured again.
    [retried] = again.rows(cells, samples=4, seed=0, known=found)
    assert retried == found[2]
    return found


def test_rows(rows: list[Row]) -> None:
    dense, same, failed, pruned = rows
    assert [row["method"] for row in rows] == ["dense", "nothing", "impossible", "llm-pruner"]
    assert same["perplexity"] == dense["perplexity"]
    assert same["top1"] == {"held-out": 1.0}
    assert same["agreed"] == 1
    assert same["repeated"] == dense["repeated"]
    assert same["note"] == "20.00% of all parameters above target"
    assert failed["note"].startswith("not possible: it holds too little")
    assert (failed["perplexity"], failed["parameters"]) == ({}, None)
    assert pruned["parameters"] == pytest.approx(0.8 * dense["parameters"], rel=0.0025)
    assert pruned["perplexity"]["held-out"] > dense["perplexity"]["held-out"]
    assert 0 < pruned["top1"]["held-out"] < 1
    paper = pruned | {"method": "paper"}
    assert excess(same, [*rows, paper], "held-out") == 0
