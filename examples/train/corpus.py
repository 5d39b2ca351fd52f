"""The text: the source of the running CPython's standard library, documentation and code.

One document a module, in the order of paths. A document's name alone decides, through a hash,
whether it trains, calibrates or evaluates: adding a module moves no other one.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Part = Literal["train", "calibration", "evaluation"]
PARTS: tuple[Part, ...] = ("train", "calibration", "evaluation")
HELD_OUT_PERCENT = 7
SHORTEST = 400  # characters; below are stubs and empty packages
NOT_PYTHONS_OWN = {"site-packages", "dist-packages", "ensurepip"}
TABLES = {"encodings", "lib2to3", "pydoc_data", "turtledemo"}  # made by machines, or grammars
TESTS = {"test", "tests", "idle_test"}
BUILD_FACTS = "_sysconfigdata"  # paths of the machine that built this interpreter


@dataclass(frozen=True)
class Document:
    """The source of one module."""

    name: str
    text: str

    @property
    def part(self) -> Part:
        """Which part it belongs to, by a hash of its name."""
        share = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4]) % 100
        if share < HELD_OUT_PERCENT:
            return "evaluation"
        return "calibration" if share < 2 * HELD_OUT_PERCENT else "train"


def read_corpus(library: Path | None = None) -> list[Document]:
    """All documents of a standard library (default: the running interpreter's), by path.

    Raises:
        FileNotFoundError: the folder holds no Python source.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    documents = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if inside.parts[0] in NOT_PYTHONS_OWN | TABLES or TESTS & set(inside.parts):
            continue
        if path.name.startswith(BUILD_FACTS):
            continue
        text = _source(path)
        if len(text) >= SHORTEST and text.isascii():
            documents.append(Document(".".join(inside.with_suffix("").parts), text))
    if not documents:
        raise FileNotFoundError(f"{root}: no source in *.py; is this a CPython library folder?")
    return documents


def write_texts(documents: Iterable[Document], folder: Path) -> None:
    """Write the held-out parts as JSON lines `{"name", "text"}`, one document a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS[1:]:
        lines = (json.dumps({"name": d.name, "text": d.text}) for d in documents if d.part == part)
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _source(path: Path) -> str:
    """The file's text; nothing where its encoding is broken, as some are on purpose."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""
