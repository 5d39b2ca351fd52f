"""`slimgpt calibration`: the user's own texts, uploaded to the service for use in jobs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.client.connection import Connection
from cli.client.lifecycle import Yes, confirm, remove
from cli.client.paging import Paging, show_page
from cli.options.groups import Commands
from cli.options.shared import Json
from slimgpt.spec.sizes import counted
from slimgpt.texts.upload_checks import Format

SetId = Annotated[str, typer.Argument(metavar="ID", help="The set's id.")]
calibration = Commands("calibration", help="Manage uploaded calibration texts.")


@calibration.command()
def upload(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="JSON lines or text."),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name shown in lists.  [default: the file's name]")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="What the file is.  [default: found automatically]"),
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Field that holds the text.  [default: found automatically]")
    ] = None,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Upload a text file and print its name for jobs: upload:ID.

    The file is validated first. The same text uploaded again is the same set.

    \b
    Example:
      slimgpt calibration upload examples/model/texts/calibration.jsonl \\
          --name stories
    """
    with connection.open() as client:
        made = client.calibration_sets.upload(file, name=name, text_field=text_field, form=form)
    if as_json:
        typer.echo(json.dumps(made.raw))
        return
    typer.echo(made.source)
    told = (counted(made.documents, "document"), counted(made.size, "byte"))
    typer.echo(", ".join(told), err=True)


@calibration.command("list")
def list_all(paging: Paging, connection: Connection, as_json: Json = False) -> None:
    """List the calibration sets, newest first.

    \b
    Example:
      slimgpt calibration list --limit 10
    """
    with connection.open() as client:
        page = client.calibration_sets.list(**asdict(paging))
    none = "no calibration sets yet; upload one: slimgpt calibration upload FILE"
    show_page(page, "calibration list", as_json=as_json, none=none)


@calibration.command()
def show(set_id: SetId, connection: Connection, as_json: Json = False) -> None:
    """Show one calibration set.

    \b
    Example:
      slimgpt calibration show cal_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        found = client.calibration_sets.get(set_id).raw
    if as_json:
        typer.echo(json.dumps(found))
        return
    for field in ("id", "source", "name", "format", "documents", "size", "sha256", "owner"):
        typer.echo(f"{field:<10} {found[field]}")
    typer.echo(f"{'created':<10} {found['created_at']}")


@calibration.command()
def delete(
    set_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The sets' ids.")],
    *,
    yes: Yes = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Delete calibration sets that no unfinished job uses; in a terminal, ask first.

    \b
    Example:
      slimgpt calibration delete cal_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    if not yes:
        confirm(set_ids, "calibration sets")
    with connection.open() as client:
        for set_id in set_ids:
            bare = set_id.removeprefix("upload:")  # as a job names the set
            remove(client.calibration_sets.delete, bare, as_json=as_json)
