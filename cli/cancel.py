"""`slimgpt cancel`: stop a job that waits or runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, connect


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
