"""Arguments and options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Write JSON and nothing else to stdout.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Folder of the model, or org/name[@revision].")
]
Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="Folder to create; it must not exist yet.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue after the last finished layer in OUT.work.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")]
