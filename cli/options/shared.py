"""Arguments and options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slimgpt.spec.sizes import MAX_DEVICES

COMPLETION_SECONDS = 2.0
ServiceHome = Annotated[
    Path | None, typer.Option("--home", envvar="SLIMGPT_HOME", help="Folder of the service.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON and nothing else to stdout.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder of the model, local:NAME below the service's models folder, or "
        "org/name[@revision] of the hub.",
    ),
]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder to create; it must not exist yet.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    int,
    typer.Option(min=1, max=MAX_DEVICES, help="GPUs that compute together, each on a share of it."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue after the last finished layer in OUT.work.")
]


def _job_ids(incomplete: str) -> list[tuple[str, str]]:
    """Ids for the shell's completion; none where no service answers at once."""
    from slimgpt.client import Client, ClientError

    try:
        with Client(retries=0, timeout=COMPLETION_SECONDS) as client:
            jobs = client.jobs.list().items
    except ClientError:
        return []
    return [(job.id, f"{job.status} {job.model}") for job in jobs if job.id.startswith(incomplete)]


JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=_job_ids)]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")]
