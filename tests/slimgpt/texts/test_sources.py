"""Names of sources; local ones (tests/slimgpt/test_hub_texts.py asks a hub for the others)."""

from __future__ import annotations

import pytest

from slimgpt.config import NAMED_TEXTS, CalibrationSpec
from slimgpt.errors import CalibrationError
from slimgpt.origins.roots import Roots
from slimgpt.texts import sources as texts


def test_every_name_that_a_specification_takes_has_texts() -> None:
    assert set(NAMED_TEXTS) == set(texts.CALIBRATION) == set(texts.EVALUATION)


def test_the_defaults_are_those_of_the_specification(roots: Roots) -> None:
    spec = CalibrationSpec(source="local:a.txt")
    (roots.texts / "a.txt").write_text("one\n\ntwo")
    found = texts.documents(
        spec.source, config=spec.config, split=spec.split, text_field=None, roots=roots
    )
    assert list(found) == list(texts.documents("local:a.txt", roots=roots)) == ["one", "two"]
    assert found.description == "local:a.txt, 2 documents between blank lines"
    assert texts.evaluation_text("local:a.txt", roots) == "one\n\ntwo"


def test_documents_end_where_they_end(roots: Roots) -> None:
    (roots.texts / "a.txt").write_text("one\n\ntwo")
    found = texts.documents("local:a.txt", roots=roots)
    for index in (2, -1):
        with pytest.raises(IndexError, match=f"document {index} of 2"):
            _ = found[index]


@pytest.mark.parametrize("source", ["C4", "ptb", "", "/etc/passwd", "http://host/file"])
def test_unknown_names_list_the_known(roots: Roots, source: str) -> None:
    with pytest.raises(CalibrationError, match=r"unknown text source .*; use c4, alpaca"):
        texts.documents(source, roots=roots)
    with pytest.raises(CalibrationError, match="unknown text source"):
        texts.evaluation_text(source, roots)
