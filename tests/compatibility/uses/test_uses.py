"""The page of uses is of the uses that there are, and says what happens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from slimgpt.spec.prune import Format
from tests.compatibility.uses import generation, loading, page, training
from tests.compatibility.uses.catalogue import FAILS, NOT_TRIED, USES, WORKS, Use, attempt
from tests.compatibility.uses.expectations import WrongResultError
from tests.compatibility.uses.model import FORMATS, Model, models

TEXT = page.PAGE.read_text(encoding="utf-8")
ROWS = page.rows(TEXT)
QUICK = {
    generation.dynamic_cache,
    generation.continuous_batching,
    loading.sequence_classification,
    loading.saving,
    training.prefix_tuning,
}
TRIED = [use for use in USES if use.run in QUICK]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Format, Model]]:
    """The model in every format; its code is imported from a folder of the test's own."""
    home: Path = tmp_path_factory.mktemp("uses")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home / "modules"))
        yield models(home)


def test_the_rows_are_the_uses() -> None:
    assert list(ROWS) == [use.title for use in USES]
    assert all(len(cells) == len(FORMATS) for cells in ROWS.values())


def test_it_says_how_it_was_made() -> None:
    assert f"    {page.COMMAND}\n" in TEXT
    assert re.search(r"on 20\d\d-\d\d-\d\d, with Python 3\.\d+\.\d+,\n", TEXT)
    for name in page.PACKAGES:
        assert re.search(rf"{name} \d+\.\d+", TEXT), name


def test_a_cell_is_a_mark_and_has_a_reason_unless_it_worked() -> None:
    for title, cells in ROWS.items():
        for cell in cells:
            assert cell.mark in (WORKS, FAILS, NOT_TRIED), title
            assert bool(cell.reason) == (cell.mark != WORKS), title
        assert not cells[0].reason.startswith(WrongResultError.__name__), title


def test_what_fails_on_exact_has_a_way_round() -> None:
    for line in TEXT.splitlines():
        if re.match(rf"\| .+ \| {FAILS} \(\d+\) \| .+ \| .+ \|", line):
            assert re.search(r"\| (`uniform`|`padded`|LoRA)[^|]* \|$", line), line


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("use", TRIED, ids=lambda use: use.run.__name__)
def test_it_ends_as_the_page_says(use: Use, form: Format, given: dict[Format, Model]) -> None:
    found, said = attempt(use, given[form]), ROWS[use.title][FORMATS.index(form)]
    assert found.mark == said.mark, found
    assert found.reason.partition(":")[0] == said.reason.partition(":")[0]
