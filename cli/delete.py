"""`slimgpt delete`: remove jobs that are over, with their files."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, connect
from cli.removal import confirm, remove


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
