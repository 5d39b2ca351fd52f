"""`slimgpt download`: fetches a job's files, verifies their SHA-256, renames the folder once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.client.connection import Connection
from cli.options.shared import JobId, Json
from cli.terminal.exit_status import fail


def download(
    job_id: JobId,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the files.")],
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Download all files of a job and check their sha256.

    The files are collected in DIR.JOB.partial, which becomes DIR when all are complete; the same
    command continues where an earlier one was interrupted.

    \b
    Example:
      slimgpt download job_01jd5xa3k8e6q7m2n4p9r0s1t2 smaller
    """
    with connection.open() as client:
        files = client.jobs.artifacts(job_id)
        try:
            made = client.jobs.download(job_id, directory, files=files)
        except OSError as error:
            fail(f"{error.filename or directory} cannot be written: {error.strerror or error}")
    size = sum(file.size for file in files)
    if as_json:
        items = [file.raw for file in files]
        typer.echo(json.dumps({"directory": str(made), "items": items, "size": size}))
    else:
        typer.echo(f"{len(files)} files, {size:,} bytes, all checked, in {made}")
