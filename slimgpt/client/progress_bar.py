"""Progress bars of the client: on standard error in a terminal, as HTML in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from slimgpt.client.models.jobs import Status

Advance = Callable[[int], None]
Show = Callable[[Status], None]


def wanted(bar: bool | None) -> bool:
    """Whether to show a bar; None: where somebody can see it."""
    return in_notebook() or sys.stderr.isatty() if bar is None else bar


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    found = shell and shell.get_ipython()
    return type(found).__name__ == "ZMQInteractiveShell"


@contextmanager
def transfer_bar(what: str, total: int, *, shown: bool) -> Iterator[Advance]:
    """A bar of bytes; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    if not shown or in_notebook():  # rich needs widgets there, which few have
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
               TransferSpeedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def job_bar(*, shown: bool, console: Any = None) -> Iterator[Show]:
    """A bar of a job's progress; gives the function that takes its states.

    Args:
        console: rich's; None: standard error.
    """
    if not shown:
        yield lambda _status: None
        return
    if in_notebook():
        yield _notebook_bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(),
               TextColumn("{task.fields[share]:>4}"), TextColumn("{task.fields[layers]}"),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        task = progress.add_task("waiting", total=100, share="0%", layers="", left="")

        def show(status: Status) -> None:
            share = f"{int(status.percent)}%"
            fields: dict[str, Any] = {"share": share, "layers": status.layers, "left": status.left}
            progress.update(task, description=status.phase, completed=status.percent, **fields)

        yield show


def _notebook_bar() -> Show:
    """The states in one cell, each in place of the one before; needs no widgets."""
    from IPython.display import display

    shown: list[Any] = []

    def show(status: Status) -> None:
        if shown:
            shown[0].update(status)
        else:
            shown.append(display(status, display_id=True))

    return show
