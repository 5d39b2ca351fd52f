"""The service's side of the `slimgpt` command: the stack, and a client of it."""

from __future__ import annotations

import typer

from cli.calibration import calibration
from cli.cancel import cancel
from cli.config import config
from cli.delete import delete
from cli.download import download
from cli.jobs import jobs
from cli.keys import keys
from cli.retry import retry
from cli.submit import submit
from cli.up import up
from cli.watch import watch
from cli.webhooks import webhooks
from migrations.command import app as database


def register(app: typer.Typer) -> None:
    """Add `up` and the commands of its client to a command line."""
    for command in (up, submit, jobs, watch, download, cancel, retry, delete):
        app.command()(command)
    for group in (calibration, webhooks, keys, config, database):
        app.add_typer(group)
