"""Task data from local files instead of the hub, with the columns of the stock task.

A folder holds one file per task: `boolq.jsonl`, or with the split in its name,
`arc_easy_test.jsonl`, `mmlu_dev.jsonl`. The tasks of a family such as MMLU may share a file in
which each row has a `subject`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimgpt.errors import CalibrationError
from slimgpt.texts import local

PARTS = {
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "dev",
    "train": "train",
}
SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".json.gz")
SUBJECT = "subject"
TEMPLATES = ("doc_to_text", "doc_to_target", "doc_to_choice")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """Questions and few-shot examples.

    Attributes:
        asked: rows to answer.
        examples: rows for few-shot examples; may be empty.
    """

    asked: Sequence[Row]
    examples: Sequence[Row]

    @property
    def sha256(self) -> str:
        """SHA-256 of both, in order."""
        content = json.dumps([list(self.asked), list(self.examples)], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()


def of_file(file: Path, source: str, subject: str | None) -> Rows:
    """The rows of one file, all of them questions.

    Args:
        source: name for error messages.
        subject: subject of the rows to use; None for all rows.

    Raises:
        CalibrationError: the file cannot be read, or has no rows of the subject.
    """
    return Rows(_chosen(_read(file, source), subject, source), ())


def of_folder(folder: Path, source: str, task: str, config: Mapping[str, Any]) -> Rows:
    """The rows of the task's files in a folder.

    Args:
        task: the task's name in the harness.
        config: the stock task's configuration, which has its splits and subject.

    Raises:
        CalibrationError: the folder has no file of the task, or as `of_file`.
    """
    files, shared = _files(folder, task)
    if not files:
        raise CalibrationError(
            f"task {task}: {source} has no file for it",
            hint=f"add {task}.jsonl, or {task}_SPLIT.jsonl with SPLIT one of {', '.join(PARTS)}",
        )
    subject = config.get("dataset_name") if shared else None
    stock = "test" if config.get("test_split") else "validation"
    order = (stock, "", "test", "validation", "dev", "train")
    part = next(part for part in order if part in files)
    shots = (str(config.get("fewshot_split") or ""), "train", "dev")
    other = next((one for one in shots if one in files and one != part), None)

    def rows(file: Path) -> Sequence[Row]:
        name = f"{source}/{file.name}"
        return _chosen(_read(file, name), subject, name)

    return Rows(rows(files[part]), rows(files[other]) if other else ())


def _files(folder: Path, task: str) -> tuple[dict[str, Path], bool]:
    """The files of a task by split, and whether other tasks share them."""
    stems = {
        file: file.name.split(".")[0].split("_")
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name.endswith(SUFFIXES)
    }
    words = task.split("_")
    for length in range(len(words), 0, -1):
        shared = length < len(words)
        found: dict[str, Path] = {}
        for file, stem in stems.items():
            rest = stem[length:]
            parts = [PARTS[word] for word in rest if word in PARTS]
            if stem[:length] != words[:length] or len(parts) < min(len(rest), 1):
                continue
            if shared and len(rest) > 1:  # another task of the family
                continue
            found.setdefault(parts[0] if parts else "", file)
        if found:
            return found, shared
    return {}, False


def _read(file: Path, source: str) -> Sequence[Row]:
    rows = list(local.parsed(file, source, None, _row))
    first = rows[0]
    for number, row in enumerate(rows, start=1):
        if row.keys() != first.keys():
            odd = ", ".join(sorted(row.keys() ^ first.keys()))
            raise CalibrationError(
                f"{source}: row {number} has other fields than the first row: {odd}",
                hint="use the same fields in all rows",
            )
    return rows


def _row(row: object, _: str | None) -> Row:
    if not isinstance(row, dict) or not row:
        raise ValueError(f"a {type(row).__name__}, not an object with a task's fields")
    return row


def _chosen(rows: Sequence[Row], subject: str | None, source: str) -> Sequence[Row]:
    if subject is None:
        return rows
    chosen = [row for row in rows if row.get(SUBJECT) == subject]
    if not chosen:
        raise CalibrationError(
            f"{source}: no row has `{SUBJECT}`: {subject!r}",
            hint="add rows of every subject, or evaluate single tasks of the group",
        )
    return chosen


def columns_of(stock: Mapping[str, Any]) -> frozenset[str]:
    """Names of the columns that a task's templates read, for a clear error when one is missing.

    Args:
        stock: the task's configuration; columns that its functions read are not found.
    """
    from jinja2 import Environment, meta

    environment = Environment()  # parses; nothing is rendered
    found: set[str] = set()
    for part in TEMPLATES:
        template = stock.get(part)
        if not isinstance(template, str):
            continue
        if template.isidentifier():  # a column's name alone
            found.add(template)
        else:
            found |= meta.find_undeclared_variables(environment.parse(template))
    return frozenset(found)
