"""`HarnessTask`: one task or group of a specification, validated, with its data loaded.

Everything that can be wrong with tasks is found here, before any expensive work: an unknown name,
data that is not there, a column that is missing, examples that cannot be shown.
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

SEED = 1234  # of the choice of examples, the harness's own
UNREACHABLE = ("ConnectionError", "OfflineModeIsEnabled", "ConnectTimeout", "ConnectError")


@dataclass(frozen=True)
class Leaf:
    """One task, ready to be asked.

    Attributes:
        task: the harness's own object.
        shots: examples before each question.
        limit: how many questions are asked; None: all.
        sha256: of all that its scores depend on but the model.
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
        group: how the harness groups them; None: it does not.
        metrics: the one metric told of each task; None: all that the task has.
    """

    name: str
    leaves: tuple[Leaf, ...]
    group: Group | None = None
    metrics: Mapping[str, str] | None = None


def prepare(spec: EvaluationSpec, roots: Roots) -> tuple[HarnessTask, ...]:
    """Find the tasks and read their questions.

    Raises:
        SpecError: the harness is not installed, has no such task, or cannot run it here.
        CalibrationError: the questions cannot be had, or do not fit the task's prompt.
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
            f"task {name}: there are no examples to show before its questions",
            hint=f"put a file {name}_train.jsonl or {name}_dev.jsonl beside the questions and name "
            "the folder as `tasks_source`, or ask for 0 shots",
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
            f"evaluation.tasks: {name} runs code that models write, or asks about images or sound",
            hint="neither is done here: choose another task",
        )


def _overrides(name: str, stock: Mapping[str, Any], found: Rows) -> dict[str, Any]:
    """What changes in a stock task whose rows are at hand; prompts and metrics stay."""
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
        changes["process_docs"] = None  # HellaSwag's rows as the harness makes them of the hub's
    if not made and (missing := rows.columns_of(stock) - first):
        there = ", ".join(sorted(first))
        raise _unfit(name, f"no field {', '.join(sorted(missing))}; the fields are: {there}")
    return changes


def _built(name: str, manager: Any, overrides: Mapping[str, Any]) -> Any:
    """The harness's task.

    Raises:
        CalibrationError, HubUnreachableError: its data is not there or does not fit its prompt.
        SpecError: it needs a library that is not there.
    """
    group = {"group": "slimgpt", "task": [{"task": name, **overrides}]}
    try:
        return manager.load(group)["tasks"][name]
    # The harness lets through whatever data sets, templates and the tasks' own code raise.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if isinstance(error, ImportError):
            raise SpecError(
                f"evaluation.tasks: {name} needs a library that is not installed ({reason})",
                hint="install `slimgpt-service[tasks]`, or what the message names",
            ) from error
        if "custom_dataset" in overrides:
            raise _unfit(name, reason) from error
        hint = "give its rows as a file: `source` of the task, or `tasks_source`, a folder"
        message = f"task {name}: its data cannot be had ({reason})"
        if any(kind in type(error).__name__ for kind in UNREACHABLE):
            raise HubUnreachableError(message, hint=hint) from error
        raise CalibrationError(message, hint=hint) from error


def _check(name: str, task: Any, limit: int | None) -> None:
    """Put every question into its prompt once, and see that it has an answer."""
    for number, row in enumerate(task.eval_docs, start=1):
        if limit is not None and number > limit:
            break
        try:
            text, target = task.doc_to_text(row), task.doc_to_target(row)
            choices = task.doc_to_choice(row) if task.config.doc_to_choice is not None else None
            right = text if task.multiple_input else target
            if choices is not None and isinstance(right, int):
                choices[right]
        except Exception as error:  # templates raise whatever their functions do
            raise _unfit(name, f"row {number}: {type(error).__name__}: {error}") from error


def _unfit(name: str, reason: str) -> CalibrationError:
    return CalibrationError(
        f"task {name}: rows do not fit its prompt ({reason})",
        hint="give rows with the columns of the hub's data set",
    )


def _hush() -> None:
    logging.getLogger(catalogue.PACKAGE).setLevel(logging.ERROR)
