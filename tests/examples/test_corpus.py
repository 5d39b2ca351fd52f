"""Documents of a small standard library made for the purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.train.corpus import Document, read_corpus, write_texts

MODULE = '''"""This module is about the reading of files."""

# The lock is held
# while the file is read.

class Reader:
    """A reader that has not been closed yet."""

    def read(self, size):
        """Return at most as many bytes as asked for."""
        return b"# not a comment of the module, but close to one"
'''
TOPICS = """# made by a machine
topics = {'lists': 'A list is a row of things in an order.',
          'sets': 'A set is a heap of things without an order.'}
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "lib"
    (root / "pydoc_data").mkdir(parents=True)
    (root / "pydoc_data" / "topics.py").write_text(TOPICS)
    (root / "reader.py").write_text(MODULE)
    (root / "again.py").write_text('"""This module is about the reading of files!"""\n')
    (root / "broken.py").write_text('"""This file does not parse, as it should."""\n(\n')
    (root / "site-packages").mkdir()
    (root / "site-packages" / "other.py").write_text('"""This one is not a part of Python."""\n')
    return root


def test_documents_hold_docstrings_and_comments_in_the_order_of_the_file(library: Path) -> None:
    texts = {document.name: document.text for document in read_corpus(library)}
    assert texts["reader"].splitlines() == [
        "The lock is held while the file is read.",
        "A reader that has not been closed yet.",
        "Return at most as many bytes as asked for.",
    ]


def test_a_paragraph_is_kept_once_and_others_code_never(library: Path) -> None:
    texts = {document.name: document.text for document in read_corpus(library)}
    assert texts["again"] == "This module is about the reading of files!"
    assert set(texts) == {"again", "reader", "topics.lists", "topics.sets"}


def test_a_new_module_moves_no_other_one(library: Path) -> None:
    before = {document.name: document.part for document in read_corpus(library)}
    (library / "fresh.py").write_text('"""This module was not here in the version before."""\n')
    after = {document.name: document.part for document in read_corpus(library)}
    assert before.items() <= after.items()
    assert "fresh" in after


def test_parts_have_their_shares() -> None:
    parts = [Document(f"module{i}", "").part for i in range(4000)]
    assert 0.05 < parts.count("calibration") / 4000 < 0.09
    assert 0.05 < parts.count("evaluation") / 4000 < 0.09


def test_texts_hold_the_held_out_documents(library: Path, tmp_path: Path) -> None:
    for i in range(60):
        line = f'"""The {"x" * i} module is one of the many that are here."""\n'
        (library / f"m{i}.py").write_text(line)
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
