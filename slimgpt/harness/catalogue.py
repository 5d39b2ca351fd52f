"""Looks up harness tasks by name without parsing all 14,000 task files.

The harness's index parses every file, which takes 15 seconds. Task names are at the start of a
line, so a byte search finds the file; the harness then indexes only its folder.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slimgpt.errors import SpecError

PACKAGE = "lm_eval"
COMMONSENSE: Mapping[str, str] = {
    "boolq": "acc",
    "piqa": "acc",
    "hellaswag": "acc_norm",
    "winogrande": "acc",
    "arc_easy": "acc",
    "arc_challenge": "acc_norm",
    "openbookqa": "acc_norm",
}
"""The seven tasks of the paper (section 4.1) and the metric reported for each."""
GROUPS: Mapping[str, Mapping[str, str]] = {"commonsense": COMMONSENSE}
SHOTS: Mapping[str, int] = {"mmlu": 5}
"""Number of few-shot examples where the usual one is not the harness's default."""
_NAME = re.compile(rb"^[\"']?(?:task|group)[\"']?:[ \t]*[\"']?([^\s\"']+)[\"']?[ \t]*\r?$", re.M)


@dataclass(frozen=True)
class Group:
    """A group of the harness: its configuration and members; tasks by name."""

    config: Mapping[str, Any]
    members: tuple[str | Group, ...]

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of all tasks in the group and its subgroups."""
        return tuple(
            leaf
            for member in self.members
            for leaf in ((member,) if isinstance(member, str) else member.leaves)
        )


@dataclass(frozen=True)
class Entry:
    """A task or group of tasks.

    Attributes:
        tasks: names of its tasks; one name for a single task.
        group: the harness's group; None for a single task and for groups of `GROUPS`.
        managers: the harness's `TaskManager` of each task.
    """

    tasks: tuple[str, ...]
    group: Group | None = None
    managers: Mapping[str, Any] = field(default_factory=dict)


def find(name: str) -> Entry:
    """Find a task or group by name.

    Raises:
        SpecError: the harness is not installed or has no such task.
    """
    require()
    if name in GROUPS:
        tasks = tuple(GROUPS[name])
        return Entry(tasks, managers={task: _manager(_file(task).parent) for task in tasks})
    file = _file(name)
    manager = _manager(file.parent)
    if manager.task_index[name].kind.name != "GROUP":
        return Entry((name,), managers={name: manager})
    group = _group(name, manager.task_index)
    if group is None:  # it contains tasks of other folders
        manager = _manager(None)
        group = _group(name, manager.task_index)
        assert group is not None
    return Entry(group.leaves, group, dict.fromkeys(group.leaves, manager))


def require() -> None:
    """Check that the harness is installed.

    Raises:
        SpecError: it is not.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise SpecError(
            "evaluation.tasks: lm-evaluation-harness is not installed",
            hint="run `pip install 'slimgpt-service[tasks]'`, or remove `evaluation.tasks`",
        )


def _group(name: str, index: Mapping[str, Any]) -> Group | None:
    """The tree below a group; None if a member is not in the index."""
    config = index[name].cfg
    members: list[str | Group] = []
    for one in config["task"]:
        member = one if isinstance(one, str) else one.get("task", one.get("group"))
        if not isinstance(member, str) or member not in index:
            return None
        entry = index[member]
        if entry.kind.name == "GROUP":
            below = _group(member, index)
            if below is None:
                return None
            members.append(below)
        elif entry.kind.name == "TAG":
            members += sorted(entry.tags)
        else:
            members.append(member)
    return Group(config, tuple(members))


def _file(name: str) -> Path:
    names = _names()
    if name not in names:
        near = difflib.get_close_matches(name, [*names, *GROUPS], n=4)
        raise SpecError(
            f"evaluation.tasks: lm-evaluation-harness has no task {name!r}",
            hint=f"did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists them",
        )
    return names[name]


@functools.cache
def _names() -> Mapping[str, Path]:
    """The file of every task and group."""
    found: dict[str, Path] = {}
    for file in sorted(_folder().rglob("*.yaml")):
        for name in _NAME.findall(file.read_bytes()):
            found.setdefault(name.decode("utf-8", "replace"), file)
    return found


def _folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    places: Sequence[str] = spec.submodule_search_locations or ()
    return Path(places[0]) / "tasks"


@functools.cache
def _manager(folder: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    if folder is None:
        return TaskManager()
    return TaskManager(include_path=[str(folder)], include_defaults=False)
