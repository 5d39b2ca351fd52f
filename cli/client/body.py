"""The body of a job that is posted: what a file says of it, and options that override that."""

from __future__ import annotations

from typing import Any

from cli.options import tasks
from cli.terminal.exit_status import fail


def override(body: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put the changes that were given into the body."""
    body.update({name: value for name, value in changes.items() if value not in (None, [])})


def merged(base: Any, changes: dict[str, Any]) -> dict[str, Any] | None:
    """`base` with the changes that were given; None when there is nothing to say."""
    given = {name: value for name, value in changes.items() if value not in (None, [])}
    return {**part_of(base), **given} if given else None


def part_of(base: Any) -> dict[str, Any]:
    """What the file of `--spec` says in this place; nothing of it may vanish unsaid."""
    if not (base is None or isinstance(base, dict)):
        fail(f"{base!r} in the file of --spec is not a JSON object: it can't be overridden in part")
    return dict(base or {})


def add_timing(body: dict[str, Any], timing: bool, batches: list[int]) -> None:
    """Add that generation is timed; batch sizes may refine what the file says of it."""
    base = part_of(body.get("evaluation"))
    if batches and not timing and base.get("inference") is None:
        fail("--timing-batch: ask for --timing as well", status=2)
    if timing or batches:
        timed = {**part_of(base.get("inference")), **({"batch_sizes": batches} if batches else {})}
        body["evaluation"] = {**base, "inference": timed}


def add_tasks(body: dict[str, Any], asked: tasks.TaskOptions) -> None:
    """Put the tasks in the place of the file's; its folder of questions serves them, too."""
    for folder in asked.folders:
        if not folder.startswith("local:"):
            fail(
                f"--task-source {folder} is a folder of this machine, which the service cannot "
                "read: name local:FOLDER below its folder of texts, or the file of one task"
            )
    if asked.tasks:
        fields = {name: value for name, value in asked.part(asked.source).items() if value}
        fields["tasks"] = [_given(one) for one in fields["tasks"]]
        body["evaluation"] = {**part_of(body.get("evaluation")), **fields}


def add_recovery(body: dict[str, Any], training: dict[str, Any]) -> None:
    """Add the recovery; its options may refine what the file says of it."""
    given = _given(training)
    if given and "source" not in given and body.get("recovery") is None:
        fail(f"{', '.join(given)} belong to a recovery: ask for one with --recover TEXT", status=2)
    override(body, {"recovery": merged(body.get("recovery"), given)})


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
