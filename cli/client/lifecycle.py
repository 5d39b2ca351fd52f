"""`slimgpt cancel`, `retry`, `delete`: end a job, queue it again, remove what it left."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cli.client.http import DEFAULT_URL, ApiKey, Service, Url, connect
from cli.client.watch import follow
from cli.options.shared import Json


def cancel(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Stop a job; a running one is cancelled when its worker has stopped."""
    with connect(url, api_key) as service:
        job = service.post(f"/jobs/{job_id}/cancel", None)
    typer.echo(json.dumps(job) if as_json else f"{job['id']} {job['status']}")


def retry(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="Start at the first layer, not after the last finished.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Queue a failed or cancelled job again, with fresh attempts, from its last finished layer."""
    with connect(url, api_key) as service:
        job = service.post(f"/jobs/{job_id}/retry", {"anew": True} if anew else None)
        typer.echo(json.dumps(job) if as_json else f"{job['id']} {job['status']}")
        if watch:
            follow(service, job_id, as_json=as_json)


def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs' ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Remove jobs that are over, with their reports and files; in a terminal, ask first."""
    if not yes:
        confirm(job_ids, "jobs", " with all files")
    with connect(url, api_key) as service:
        for job_id in job_ids:
            remove(service, "/jobs", job_id, as_json=as_json)


def confirm(ids: Sequence[str], plural: str, lost: str = "") -> None:
    """Ask in a terminal whether they shall go; a pipe is not asked.

    Raises:
        typer.Abort: they shall not.
    """
    if sys.stdin.isatty():
        what = ids[0] if len(ids) == 1 else f"{len(ids)} {plural}"
        typer.confirm(f"remove {what}{lost}?", abort=True, err=True)


def remove(service: Service, path: str, one: str, *, as_json: bool) -> None:
    """Remove what has this id below a path of the API, and say so."""
    service.delete(f"{path}/{one}")
    typer.echo(json.dumps({"id": one, "deleted": True}) if as_json else f"{one} deleted")
