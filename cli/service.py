"""The service's side of the `slimgpt` command: the stack, and a client of it."""

from __future__ import annotations

import typer

from cli.download import download
from cli.jobs import jobs
from cli.keys import keys
from cli.submit import submit
from cli.up import up
from cli.watch import watch


def register(app: typer.Typer) -> None:
    """Add `up`, `submit`, `jobs`, `watch`, `download` and `keys` to a command line."""
    for command in (up, submit, jobs, watch, download):
        app.command()(command)
    app.add_typer(keys)
