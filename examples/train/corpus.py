"""The text: topics, docstrings and comments of the running CPython's standard library.

One document a module or topic, in the order of names, every paragraph once. A document's
name alone decides, through a hash, whether it trains, calibrates or evaluates: adding a
module moves no other one.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from examples.train.prose import paragraphs

Part = Literal["train", "calibration", "evaluation"]
PARTS: tuple[Part, ...] = ("train", "calibration", "evaluation")
HELD_OUT_PERCENT = 7
NOT_PYTHONS_OWN = ("site-packages", "dist-packages", "ensurepip")
COMMENTS = re.compile(r"(?:^[ \t]*#.*\n)+", re.MULTILINE)
Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Document:
    """Prose of one module or topic: paragraphs joined by newlines."""

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
    """All documents of a standard library (default: the running interpreter's), by name.

    Raises:
        FileNotFoundError: the folder holds no Python source.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    seen: set[bytes] = set()
    documents = []
    for name, text in sorted(_sources(root)):
        fresh = [line for line in paragraphs(text) if _first_time(line, seen)]
        if fresh:
            documents.append(Document(name, "\n".join(fresh)))
    if not documents:
        raise FileNotFoundError(f"{root}: no prose in *.py; is this a CPython library folder?")
    return documents


def write_texts(documents: Iterable[Document], folder: Path) -> None:
    """Write the held-out parts as JSON lines `{"name", "text"}`, one document a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS[1:]:
        lines = (json.dumps({"name": d.name, "text": d.text}) for d in documents if d.part == part)
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _sources(root: Path) -> Iterator[tuple[str, str]]:
    for path in root.rglob("*.py"):
        inside = path.relative_to(root)
        if inside.parts[0] in NOT_PYTHONS_OWN or path.name == "topics.py":
            continue
        yield ".".join(inside.with_suffix("").parts), _module_text(path)
    yield from _topics(root / "pydoc_data" / "topics.py")


def _topics(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_file():
        assignment = ast.parse(path.read_text(encoding="utf-8")).body[-1]
        assert isinstance(assignment, ast.Assign), f"{path}: not `topics = {{…}}`"
        for name, text in ast.literal_eval(assignment.value).items():
            yield f"topics.{name}", text


def _module_text(path: Path) -> str:
    """Docstrings and comment blocks in the order of the file; nothing where it does not parse."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return ""  # the library ships broken files on purpose, to test its parsers
    pieces = [
        (node.body[0].lineno, ast.get_docstring(node) or "")
        for node in ast.walk(tree)
        if isinstance(node, Documented) and node.body and ast.get_docstring(node)
    ]
    for match in COMMENTS.finditer(source):
        block = re.sub(r"^[ \t]*#+:? ?", "", match[0], flags=re.MULTILINE)
        pieces.append((source.count("\n", 0, match.start()) + 1, block))
    return "\n\n".join(text for _, text in sorted(pieces))


def _first_time(line: str, seen: set[bytes]) -> bool:
    key = hashlib.sha256(re.sub(r"[^a-z]+", "", line.lower()).encode()).digest()
    fresh = key not in seen
    seen.add(key)
    return fresh
