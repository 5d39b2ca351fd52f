"""The page of what loads where is of the families that there are, and says how it was made."""

from __future__ import annotations

import re

import pytest

from slimgpt.checkpoints.families.table import FAMILIES, READ_AS_ANOTHER
from tests.compatibility import page

TEXT = page.PAGE.read_text(encoding="utf-8")
ROWS = page.rows(TEXT)
NUMBER = re.compile(r"0|\d\.\de-\d\d")
REASON = re.compile(r"– \((\d+)\)")
SPANNING = {"stablelm", "gpt_neox", "gpt2", "opt", "falcon"}  # half of the heads cannot leave
FUSED = {"phi3", "gpt_neox", "gpt2", "falcon"}
WRITTEN = {
    "exact": set(ROWS),
    "uniform": set(ROWS) - SPANNING,
    "padded": set(ROWS) - FUSED - {"mixtral", "qwen3_moe", "olmo2"},
    "gguf": set(ROWS) - SPANNING - {"olmo2"},
}


def test_the_rows_are_the_families() -> None:
    assert list(ROWS) == [*FAMILIES, *READ_AS_ANOTHER]
    assert {len(cells) for cells in ROWS.values()} == {len(page.COLUMNS)}


def test_it_says_how_it_was_made() -> None:
    assert f"    {page.COMMAND}\n" in TEXT
    assert re.search(r"on 20\d\d-\d\d-\d\d, with Python 3\.\d+\.\d+,\n", TEXT)
    for name in ("transformers 5", r"transformers 4\.57", "torch 2", "xllamacpp 2026", "gguf 0"):
        assert re.search(rf"{name}\.[\d.]+", TEXT), name


@pytest.mark.parametrize("family", ROWS)
def test_a_cell_is_a_number_within_bounds_or_a_reason(family: str) -> None:
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", TEXT, re.MULTILINE))
    for column, cell in zip(page.COLUMNS, ROWS[family], strict=True):
        asked = column.loader != page.VLLM and family in WRITTEN[column.form]
        if family == "gemma2" and column.loader == page.OLD:
            asked = column.form == "exact"
        assert bool(NUMBER.fullmatch(cell)) == asked, (column, cell)
        if asked and column.form in ("exact", "uniform"):
            assert float(cell) <= (1e-5 if column.loader == page.OLD else 0.0)
        elif asked:
            assert float(cell) < (0.03 if "gemma" in family else 1e-3)
        else:
            assert reasons[REASON.fullmatch(cell)[1]]  # type: ignore[index]
