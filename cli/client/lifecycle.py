"""`slimgpt cancel`, `retry`, `delete`: cancel a job, queue it again, delete it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from cli.client.connection import Connection
from cli.client.watch import follow
from cli.options.shared import JobId, Json, Watch

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def cancel(job_id: JobId, connection: Connection, as_json: Json = False) -> None:
    """Cancel a queued or running job.

    A running job is cancelled when its worker has stopped the engine.

    \b
    Example:
      slimgpt cancel job_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        job = client.jobs.cancel(job_id)
    typer.echo(json.dumps(job.raw) if as_json else f"{job.id} {job.status}")


def retry(
    job_id: JobId,
    *,
    anew: Annotated[
        bool, typer.Option("--anew", help="Start at the first layer, not after the last finished.")
    ] = False,
    watch: Watch = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Queue a failed or cancelled job again, with new attempts.

    It resumes after its last finished layer.

    \b
    Example:
      slimgpt retry job_01jd5xa3k8e6q7m2n4p9r0s1t2 --watch
    """
    with connection.open() as client:
        job = client.jobs.retry(job_id, anew=anew)
        typer.echo(json.dumps(job.raw) if as_json else f"{job.id} {job.status}")
        if watch:
            follow(client, job_id, as_json=as_json)


def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The jobs' ids.")],
    *,
    yes: Yes = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Delete finished jobs with their reports and files.

    In a terminal, it asks first.

    \b
    Example:
      slimgpt delete job_01jd5xa3k8e6q7m2n4p9r0s1t2 --yes
    """
    if not yes:
        confirm(job_ids, "jobs", " and all their files")
    with connection.open() as client:
        for job_id in job_ids:
            remove(client.jobs.delete, job_id, as_json=as_json)


def confirm(ids: Sequence[str], plural: str, lost: str = "") -> None:
    """Ask for confirmation, if stdin is a terminal.

    Raises:
        typer.Abort: the answer is no.
    """
    if sys.stdin.isatty():
        what = ids[0] if len(ids) == 1 else f"{len(ids)} {plural}"
        typer.confirm(f"delete {what}{lost}?", abort=True, err=True)


def remove(delete_one: Callable[[str], None], one: str, *, as_json: bool) -> None:
    """Delete the item with this id, and print a line."""
    delete_one(one)
    typer.echo(json.dumps({"id": one, "deleted": True}) if as_json else f"{one} deleted")
