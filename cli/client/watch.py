"""`slimgpt watch`: follows a job until it finishes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from cli.client.connection import Connection
from cli.client.outcome import show_outcome
from cli.options.shared import JobId, Json
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    from slimgpt.client import Client


def watch(job_id: JobId, connection: Connection, as_json: Json = False) -> None:
    """Follow a job until it ends.

    The exit status is 0 if it succeeded, else 1. While the service is away, the command goes on
    asking for two minutes.

    \b
    Example:
      slimgpt watch job_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        follow(client, job_id, as_json=as_json)


def follow(client: Client, job_id: str, *, as_json: bool) -> None:
    """Show a job's progress until it is over, then its outcome.

    Raises:
        typer.Exit: status 1, the job failed or was cancelled; 130, Ctrl-C.
        ClientError: as `Jobs.stream`.
    """
    from slimgpt.client import JobFailedError, Outage, Status
    from slimgpt.client.progress_bar import job_bar
    from slimgpt.client.requests import DEFAULT_URL

    console = Console()
    drawn = console.is_terminal and not as_json
    try:
        with job_bar(shown=drawn, console=console) as show:
            for event in client.jobs.stream(job_id):
                if isinstance(event, Outage):
                    typer.echo(f"{'' if event.over else 'warning: '}{event}", err=True)
                if not isinstance(event, Status):
                    continue
                show(event)
                if not drawn:
                    typer.echo(json.dumps(event.raw) if as_json else str(event))
    except KeyboardInterrupt:
        fail(f"stopped watching; the job continues: slimgpt watch {job_id}", status=130)
    job = client.jobs.get(job_id)
    if as_json:
        typer.echo(json.dumps(job.raw))
    else:
        elsewhere = "" if client.url == DEFAULT_URL else f" --url {client.url}"
        show_outcome(console, job, client.jobs.layers(job), elsewhere)
    if job.status != "succeeded":
        raise JobFailedError(job)
