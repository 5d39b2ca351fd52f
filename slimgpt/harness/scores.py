"""Converts the harness's results to score rows: one per metric, and group means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimgpt.harness.catalogue import Group
from slimgpt.harness.harness_task import HarnessTask, Leaf

MEAN = "mean"
NO_FILTER = "none"
TaskMetrics = Mapping[str, Mapping[str, Any]]
"""The harness's metrics by task name."""


@dataclass(frozen=True)
class Score:
    """One model's result on a task or on a group, by one metric.

    Attributes:
        group: the group of the task; the task's own name for the group's mean.
        sha256: over everything that the score depends on, except the model.
        error: standard error; None if the harness gives none.
    """

    task: str
    metric: str
    shots: int
    samples: int
    group: str | None
    sha256: str
    value: float
    error: float | None


def rows(harness_task: HarnessTask, metrics: TaskMetrics) -> list[Score]:
    """The score rows of a task or group; a group's mean comes last.

    A group of groups (MMLU) has rows for its subgroups, not for their tasks.
    """
    if harness_task.metrics is not None:
        return _chosen(harness_task, metrics)
    if harness_task.group is None:
        return [
            row
            for leaf in harness_task.leaves
            for row in _of(leaf.name, leaf, None, metrics[leaf.name])
        ]
    leaves = {leaf.name: leaf for leaf in harness_task.leaves}
    found: list[Score] = []
    for member in harness_task.group.members:
        if isinstance(member, str):
            found += _of(member, leaves[member], harness_task.name, metrics[member])
        else:
            found += _of_group(member, leaves, harness_task.name, metrics)
    found += _of_group(harness_task.group, leaves, harness_task.name, metrics)
    return found


def _of_group(
    group: Group, leaves: Mapping[str, Leaf], within: str, metrics: TaskMetrics
) -> Iterator[Score]:
    from lm_eval.api.group import Group as Harness

    made = Harness.from_config({**group.config, "task": list(group.leaves)})
    if not made.has_aggregation:
        return
    for name in group.leaves:
        made.add(leaves[name].task)
    asked = [leaves[name] for name in group.leaves]
    yield from _of(made.name, asked[0], within, made.aggregate(metrics), _digest(asked))


def _digest(leaves: Sequence[Leaf]) -> str:
    """SHA-256 of the tasks of a group together."""
    return hashlib.sha256(" ".join(leaf.sha256 for leaf in leaves).encode()).hexdigest()


def _of(
    name: str, leaf: Leaf, group: str | None, metrics: Mapping[str, Any], sha256: str = ""
) -> Iterator[Score]:
    """A row for every metric, such as `acc,none`, with its error `acc_stderr,none`."""
    for key, value in metrics.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = metrics.get(f"{metric}_stderr,{filtered}")
        shown = metric if filtered == NO_FILTER else f"{metric} ({filtered})"
        count = int(metrics["sample_len"])
        score, mark = float(value), sha256 or leaf.sha256
        yield Score(name, shown, leaf.shots, count, group, mark, score, _number(error))


def _chosen(harness_task: HarnessTask, metrics: TaskMetrics) -> list[Score]:
    """One metric per task and their mean; its error assumes that tasks are independent."""
    assert harness_task.metrics is not None
    found = [
        row
        for leaf in harness_task.leaves
        for row in _of(leaf.name, leaf, harness_task.name, metrics[leaf.name])
        if row.metric == harness_task.metrics[leaf.name]
    ]
    mean = sum(row.value for row in found) / len(found)
    errors = [row.error for row in found if row.error is not None]
    error = _error_of_mean(errors) if len(errors) == len(found) else None
    samples = sum(row.samples for row in found)
    return [
        *found,
        Score(
            harness_task.name,
            MEAN,
            found[0].shots,
            samples,
            harness_task.name,
            _digest(harness_task.leaves),
            mean,
            error,
        ),
    ]


def _error_of_mean(errors: Sequence[float]) -> float:
    return float(sum(error**2 for error in errors) ** 0.5) / len(errors)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
