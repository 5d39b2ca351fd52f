"""`slimgpt delete`: remove jobs that are over, with their files."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, connect


def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs' ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Remove jobs that are over, with their reports and files; in a terminal, ask first."""
    if not yes and sys.stdin.isatty():
        what = job_ids[0] if len(job_ids) == 1 else f"{len(job_ids)} jobs"
        typer.confirm(f"remove {what} with all files?", abort=True, err=True)
    with connect(url, api_key) as service:
        for job_id in job_ids:
            service.delete(f"/jobs/{job_id}")
            typer.echo(
                json.dumps({"id": job_id, "deleted": True}) if as_json else f"{job_id} deleted"
            )
