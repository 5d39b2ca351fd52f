"""Names of sources; local ones (tests/slimgpt/test_hub_texts.py asks a hub for the others)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from slimgpt.errors import CalibrationError
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import NAMED_TEXTS, CalibrationSpec
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


def test_an_upload_is_named_by_its_id_and_its_hash(roots: Roots, tmp_path: Path) -> None:
    spec = CalibrationSpec(source="upload:cal_" + "0" * 26)
    content = b'{"text": "one"}\n{"text": "two"}\n'
    (tmp_path / f"{spec.source.removeprefix('upload:')}.jsonl").write_bytes(content)
    service = replace(roots, uploads=tmp_path)
    found = texts.documents(spec.source, roots=service)
    assert list(found) == ["one", "two"]
    digest = hashlib.sha256(content).hexdigest()
    assert found.description == f"{spec.source}, 2 documents of JSON lines, sha256 {digest}"
    assert texts.evaluation_text(spec.source, service) == "one\n\ntwo"


@pytest.mark.parametrize("name", ["", "cal_", "cal_" + "0" * 25, "cal_" + "u" * 26, "../notes"])
def test_an_upload_has_an_id_of_the_service(name: str) -> None:
    with pytest.raises(ValidationError, match="is not an upload's id"):
        CalibrationSpec(source=f"upload:{name}")
