"""Look-up of harness tasks by name, without parsing all of its 14,000 files.

The harness's own index takes a quarter of a minute and parses every file. Names stand at the
beginning of lines, so a search of the bytes finds the one file that matters; only the folder around
it is then indexed by the harness.
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
"""The seven tasks of the paper (section 4.1) and the metric that is told of each."""
GROUPS: Mapping[str, Mapping[str, str]] = {"commonsense": COMMONSENSE}
SHOTS: Mapping[str, int] = {"mmlu": 5}
"""Where the usual number of examples is not the harness's default."""
_NAME = re.compile(rb"^[\"']?(?:task|group)[\"']?:[ \t]*[\"']?([^\s\"']+)[\"']?[ \t]*\r?$", re.M)


@dataclass(frozen=True)
class Group:
    """A group of the harness: its own description and what is in it, tasks by their names."""

    config: Mapping[str, Any]
    members: tuple[str | Group, ...]

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of all its tasks."""
        return tuple(
            leaf
            for member in self.members
            for leaf in ((member,) if isinstance(member, str) else member.leaves)
        )


@dataclass(frozen=True)
class Entry:
    """What a name stands for.

    Attributes:
        tasks: names of its tasks; one, for a task.
        group: how the harness groups them; None for a task and for groups of `GROUPS`.
        managers: of each task, who makes it.
    """

    tasks: tuple[str, ...]
    group: Group | None = None
    managers: Mapping[str, Any] = field(default_factory=dict)


def find(name: str) -> Entry:
    """The task or group of a name.

    Raises:
        SpecError: the harness is not installed, or it has no such task.
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
    if group is None:  # it holds tasks of other folders
        manager = _manager(None)
        group = _group(name, manager.task_index)
        assert group is not None
    return Entry(group.leaves, group, dict.fromkeys(group.leaves, manager))


def require() -> None:
    """See that the harness is there.

    Raises:
        SpecError: it is not.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise SpecError(
            "evaluation.tasks: lm-evaluation-harness is not installed",
            hint="install it with `pip install 'slimgpt-service[tasks]'`, or ask for no tasks",
        )


def _group(name: str, index: Mapping[str, Any]) -> Group | None:
    """The tree below a group; None where a member is not in the index."""
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
            f"evaluation.tasks: there is no task {name!r} in lm-evaluation-harness",
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
