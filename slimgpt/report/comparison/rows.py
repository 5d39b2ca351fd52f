"""`rows`: one row of numbers for each of several reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from slimgpt.report.document import NAMES, Document, InferenceTiming
from slimgpt.spec.recipe import in_words

Row = dict[str, Any]
FIELDS = {"text", "sequence_length", "begins_with", "tokens", "windows", "sha256"}
INTERVALS = {f"{name}{of}interval" for name in NAMES for of in ("_", "_ratio_")}


@dataclass(frozen=True)
class Entry:
    """A report with the name that the user gave."""

    name: str
    document: Document


def rows(entries: Sequence[Entry]) -> list[Row]:
    """One row for each report, the least pruned model first; None: not measured.

    `method` names the recipe, or the schedule, too: models by two recipes are two lines of a plot.
    """
    made = [_row(entry) for entry in entries]
    return sorted(made, key=lambda row: (row["ratio"], row["model"], row["method"]))


def _row(entry: Entry) -> Row:
    document, model = entry.document, entry.document.model
    timed = _comparable(document)
    least = min((one.batch for one in timed), default=None)
    shown = [one for one in timed if one.batch == least and one.decode_ms_per_token is not None]
    return {
        "name": entry.name,
        "model": model.model,
        "method": in_words(document.spec),
        "ratio": model.ratio_achieved,
        "parameters": model.parameters_after,
        "bytes": model.bytes_after,
        "published": document.published,
        "perplexity": [
            one.model_dump(include=FIELDS | INTERVALS | set(NAMES)) for one in document.perplexity
        ],
        **_tasks(document),
        "timed": None if not shown else _setting(document, shown[0]),
        "decode_ms_per_token": {one.model: one.decode_ms_per_token for one in shown},
        "seconds": sum(document.seconds.values()),
        "peak_memory_bytes": document.peak_memory_bytes,
        "device": document.device,
        "verdict": document.verdict,
    }


def _tasks(document: Document) -> Row:
    """The mean of each task's first metric, and which tasks, with how many questions, it is of."""
    leaves = {one.task: one for one in reversed(document.tasks) if one.task != one.group}
    scores = {name: [getattr(one, name) for one in leaves.values()] for name in NAMES}
    asked = [
        [one.task, one.metric, one.shots, one.samples, one.sha256]
        for one in sorted(leaves.values(), key=lambda one: one.task)
    ]
    means = {name: mean(values) for name, values in scores.items() if values and None not in values}
    return {"asked": asked, "tasks": means}


def _comparable(document: Document) -> list[InferenceTiming]:
    """The times measured with transformers; those of other loaders are in each report."""
    return [one for one in document.inference if not one.loader.startswith("vllm")]


def _setting(document: Document, one: InferenceTiming) -> str:
    """What a time depends on besides the model."""
    lengths = f"{one.prompt_tokens} + {one.new_tokens} tokens"
    return f"batch {one.batch}, {lengths}, {one.loader}, {document.device or 'unknown device'}"
