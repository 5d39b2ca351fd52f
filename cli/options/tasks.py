"""The options of tasks, and the part of a specification that they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

Names = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="Task of lm-evaluation-harness to score, such as arc_easy, mmlu, or commonsense (the "
        "seven of the paper); may be given several times.  [default: none]",
    ),
]
Shots = Annotated[
    int | None,
    typer.Option(help="Examples before each question.  [default: the task's own; 5 for mmlu]"),
]
Limit = Annotated[
    int | None, typer.Option(help="Ask only so many questions of each task.  [default: all]")
]
Source = Annotated[
    str | None,
    typer.Option(
        "--task-source",
        metavar="PATH",
        help="Folder with a file of questions for each task, or the file of the one task.  "
        "[default: the hub]",
    ),
]


FILE = re.compile(r"\.(jsonl|ndjson|json)(\.gz)?$")
OF_SERVICE = ("local:", "upload:")


@dataclass(frozen=True)
class TaskOptions:
    """What was asked for on the command line.

    Attributes:
        source: a path of this machine, or `local:NAME` or `upload:ID` of the service. What stands
            behind a name of the service is told by its ending.

    Raises:
        typer.BadParameter: an option of tasks without a task, or one file for many tasks.
    """

    tasks: Sequence[str]
    shots: int | None
    limit: int | None
    source: str | None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        given = (self.shots, self.limit, self.source)
        if not self.tasks and any(value is not None for value in given):
            raise typer.BadParameter(
                "--shots, --limit and --task-source belong to tasks: name one with --task NAME",
                param_hint="--task",
            )
        if len(self.tasks) > 1 and self.files:
            raise typer.BadParameter(
                f"{self.source} is one file for {len(self.tasks)} tasks: name a folder",
                param_hint="--task-source",
            )

    @property
    def files(self) -> list[str]:
        """The source, where it is a file."""
        return [] if self.source is None or self._is_folder(self.source) else [self.source]

    @property
    def folders(self) -> list[str]:
        """The source, where it is a folder."""
        return [self.source] if self.source is not None and self._is_folder(self.source) else []

    def part(self, source: str | None) -> dict[str, Any]:
        """Fields of the specification's evaluation.

        Args:
            source: in the engine's vocabulary; None where none was given.
        """
        asked: dict[str, Any] = {"shots": self.shots, "limit": self.limit}
        if self.files:
            asked["source"] = source
        tasks = [{"name": name, **asked} for name in self.tasks]
        return {"tasks": tasks, "tasks_source": source if self.folders else None}

    @staticmethod
    def _is_folder(source: str) -> bool:
        if source.startswith(OF_SERVICE):
            return source.startswith("local:") and not FILE.search(source)
        return Path(source).expanduser().is_dir()
