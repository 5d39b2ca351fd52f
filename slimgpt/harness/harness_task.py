"""`HarnessTask`: one task or group of a specification, validated, with its data loaded.

Errors in tasks are found here, before any expensive work: an unknown name, missing data, a missing
column, few-shot examples that are not available.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from slimgpt.errors import CalibrationError, HubUnreachableError, SpecError
from slimgpt.harness import catalogue, rows
from slimgpt.harness.catalogue import Entry, Group
from slimgpt.harness.rows import Rows
from slimgpt.sources.roots import UPLOAD_PREFIX, Roots
from slimgpt.spec.prune import EvaluationSpec, TaskSpec

SEED = 1234  # of the choice of few-shot examples, the harness's default
UNREACHABLE = ("ConnectionError", "OfflineModeIsEnabled", "ConnectTimeout", "ConnectError")


@dataclass(frozen=True)
class Leaf:
    """One task, ready for evaluation.

    Attributes:
        task: the harness's task object.
        shots: few-shot examples before each question.
        limit: number of questions; None for all.
        sha256: over everything that the scores depend on, except the model.
    """

    name: str
    task: Any
    shots: int
    limit: int | None
    sha256: str


@dataclass(frozen=True)
class HarnessTask:
    """A task or a group of tasks.

    Attributes:
        leaves: its tasks.
        group: the harness's group; None for a single task and for groups of `catalogue.GROUPS`.
        metrics: the one metric reported for each task; None reports all metrics.
    """

    name: str
    leaves: tuple[Leaf, ...]
    group: Group | None = None
    metrics: Mapping[str, str] | None = None


def prepare(spec: EvaluationSpec, roots: Roots) -> tuple[HarnessTask, ...]:
    """Find the tasks and read their questions.

    Raises:
        SpecError: the harness is not installed, has no such task, or cannot run it here.
        CalibrationError: the questions cannot be read, or do not fit the task's prompt.
        HubUnreachableError: the hub does not answer.
    """
    if not spec.tasks:
        return ()
    catalogue.require()
    _hush()
    entries = [catalogue.find(one.name) for one in spec.tasks]  # names first: it costs least
    folder = None if spec.tasks_source is None else roots.folder(spec.tasks_source)
    return tuple(
        _harness_task(one, entry, roots, spec.tasks_source, folder)
        for one, entry in zip(spec.tasks, entries, strict=True)
    )


def _harness_task(
    spec: TaskSpec, entry: Entry, roots: Roots, source: str | None, folder: Path | None
) -> HarnessTask:
    leaves = []
    for name in entry.tasks:
        stock = entry.managers[name].task_index[name].cfg or {}
        found = None
        if spec.source is not None:
            uploaded = spec.source.startswith(UPLOAD_PREFIX)
            file = roots.upload(spec.source) if uploaded else roots.text(spec.source)
            subject = stock.get("dataset_name") if len(entry.tasks) > 1 else None
            found = rows.of_file(file, spec.source, subject)
        elif folder is not None and source is not None:
            found = rows.of_folder(folder, source, name, stock)
        leaves.append(_leaf(name, spec, entry.managers[name], stock, found))
    return HarnessTask(spec.name, tuple(leaves), entry.group, catalogue.GROUPS.get(spec.name))


def _leaf(
    name: str, spec: TaskSpec, manager: Any, stock: Mapping[str, Any], found: Rows | None
) -> Leaf:
    _refuse(name, stock)
    overrides = {} if found is None else _overrides(name, stock, found)
    asked = catalogue.SHOTS.get(spec.name) if spec.shots is None else spec.shots
    shots = int(stock.get("num_fewshot") or 0) if asked is None else asked
    if found is not None and shots and not found.examples:
        raise CalibrationError(
            f"task {name}: there are no few-shot examples ({shots} shots were requested)",
            hint=f"put {name}_train.jsonl or {name}_dev.jsonl into the folder of the questions and "
            "name the folder as `tasks_source`, or set `shots` to 0",
        )
    task = _built(name, manager, overrides | {"num_fewshot": shots})
    if found is not None:
        _check(name, task, spec.limit)
    identity = {
        "harness": metadata.version(catalogue.PACKAGE),
        "task": [name, task.VERSION],
        "shots": shots,
        "limit": spec.limit,
        "rows": None if found is None else found.sha256,
        "hub": None if found is not None else [stock.get("dataset_path"), len(task.eval_docs)],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return Leaf(name, task, shots, spec.limit, digest)


def _refuse(name: str, stock: Mapping[str, Any]) -> None:
    if any(stock.get(field) for field in ("unsafe_code", "doc_to_image", "doc_to_audio")):
        raise SpecError(
            f"evaluation.tasks: {name} runs model-generated code or needs images or audio, which "
            "is not supported",
            hint="choose another task",
        )


def _overrides(name: str, stock: Mapping[str, Any], found: Rows) -> dict[str, Any]:
    """Changes to a stock task that uses local rows; prompts and metrics stay the same."""
    import datasets

    parts: dict[str, Any] = {
        "asked": datasets.Dataset.from_list([dict(one) for one in found.asked])
    }
    if found.examples:
        parts["examples"] = datasets.Dataset.from_list([dict(one) for one in found.examples])
    changes: dict[str, Any] = {
        "custom_dataset": lambda **_: parts,
        "dataset_kwargs": None,
        "test_split": "asked",
        "validation_split": None,
        "training_split": None,
        "fewshot_split": "examples" if found.examples else None,
    }
    first = found.asked[0].keys()
    made = bool(stock.get("process_docs"))
    if made and {"query", "choices", "label"} <= first and "ctx_a" not in first:
        changes["process_docs"] = None  # HellaSwag rows already processed by the harness
    if not made and (missing := rows.columns_of(stock) - first):
        there = ", ".join(sorted(first))
        raise _unfit(name, f"no field {', '.join(sorted(missing))}; the fields are: {there}")
    return changes


def _built(name: str, manager: Any, overrides: Mapping[str, Any]) -> Any:
    """The harness's task object.

    Raises:
        CalibrationError, HubUnreachableError: its data is missing or does not fit its prompt.
        SpecError: it needs a library that is not installed.
    """
    group = {"group": "slimgpt", "task": [{"task": name, **overrides}]}
    try:
        return manager.load(group)["tasks"][name]
    # The harness does not wrap errors of data sets, templates and task code.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if isinstance(error, ImportError):
            raise SpecError(
                f"evaluation.tasks: {name} needs a library that is not installed ({reason})",
                hint="run `pip install 'slimgpt-service[tasks]'`, or install the named library",
            ) from error
        if "custom_dataset" in overrides:
            raise _unfit(name, reason) from error
        hint = "provide the rows as a file (`source` of the task) or in a folder (`tasks_source`)"
        message = f"task {name}: its data cannot be read ({reason})"
        if any(kind in type(error).__name__ for kind in UNREACHABLE):
            raise HubUnreachableError(message, hint=hint) from error
        raise CalibrationError(message, hint=hint) from error


def _check(name: str, task: Any, limit: int | None) -> None:
    """Check that every question fits the prompt and has an answer."""
    for number, row in enumerate(task.eval_docs, start=1):
        if limit is not None and number > limit:
            break
        try:
            text, target = task.doc_to_text(row), task.doc_to_target(row)
            choices = task.doc_to_choice(row) if task.config.doc_to_choice is not None else None
            right = text if task.multiple_input else target
            if choices is not None and isinstance(right, int):
                choices[right]
        except Exception as error:  # templates can raise anything
            raise _unfit(name, f"row {number}: {type(error).__name__}: {error}") from error


def _unfit(name: str, reason: str) -> CalibrationError:
    return CalibrationError(
        f"task {name}: the rows do not fit the task's prompt ({reason})",
        hint="use the columns of the hub's data set",
    )


def _hush() -> None:
    logging.getLogger(catalogue.PACKAGE).setLevel(logging.ERROR)
