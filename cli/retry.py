"""`slimgpt retry`: queue a failed or cancelled job again."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, connect
from cli.watch import follow


def retry(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Queue a failed or cancelled job again, with fresh attempts."""
    with connect(url, api_key) as service:
        job = service.post(f"/jobs/{job_id}/retry", None)
        typer.echo(json.dumps(job) if as_json else f"{job['id']} {job['status']}")
        if watch:
            follow(service, job_id, as_json=as_json)
