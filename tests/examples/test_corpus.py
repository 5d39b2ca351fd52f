"""Documents of a small standard library made for the purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.train.corpus import Document, read_corpus, write_texts

MODULE = '"""This module is about the reading of files."""\n' + "x = 1  # a line\n" * 40


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    for name in (
        "reader",
        "json/decoder",
        "site-packages/other",
        "test/test_reader",
        "encodings/a",
    ):
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODULE + f"# {name}\n")
    (root / "stub.py").write_text("x = 1\n")
    (root / "foreign.py").write_text(MODULE + "# grün\n", encoding="utf-8")
    (root / "broken.py").write_bytes(b"# coding: no-such-thing\n" + MODULE.encode())
    return root


def test_documents_are_the_librarys_own_modules_as_they_are(library: Path) -> None:
    assert [(document.name, document.text) for document in read_corpus(library)] == [
        ("json.decoder", MODULE + "# json/decoder\n"),
        ("reader", MODULE + "# reader\n"),
    ]


def test_a_new_module_moves_no_other_one(library: Path) -> None:
    before = {document.name: document.part for document in read_corpus(library)}
    (library / "fresh.py").write_text(MODULE)
    after = {document.name: document.part for document in read_corpus(library)}
    assert before.items() <= after.items()
    assert "fresh" in after


def test_parts_have_their_shares() -> None:
    parts = [Document(f"module{i}", "").part for i in range(4000)]
    assert 0.05 < parts.count("calibration") / 4000 < 0.09
    assert 0.05 < parts.count("evaluation") / 4000 < 0.09


def test_texts_hold_the_held_out_documents(library: Path, tmp_path: Path) -> None:
    for i in range(60):
        (library / f"m{i}.py").write_text(MODULE)
    documents = read_corpus(library)
    write_texts(documents, tmp_path / "texts")
    for part in ("calibration", "evaluation"):
        lines = (tmp_path / "texts" / f"{part}.jsonl").read_text().splitlines()
        expected = [{"name": d.name, "text": d.text} for d in documents if d.part == part]
        assert [json.loads(line) for line in lines] == expected
        assert expected


def test_a_folder_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is this a CPython library folder"):
        read_corpus(tmp_path)
