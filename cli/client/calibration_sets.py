"""`slimgpt calibration`: the user's own texts, uploaded to the service for use in jobs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.client.http import Connection
from cli.client.lifecycle import Yes, confirm, remove
from cli.client.paging import Paging, show_page
from cli.client.upload import upload as send
from cli.options.groups import Commands
from cli.options.shared import Json
from cli.terminal.table import show_table
from slimgpt.spec.sizes import counted
from slimgpt.texts.upload_checks import Format

SetId = Annotated[str, typer.Argument(metavar="ID", help="The set's id.")]
COLUMNS = ("source", "documents", "bytes", "created", "name")
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
    """
    with connection.open() as service:
        made = send(service, file, name=name, text_field=text_field, form=form)
    if as_json:
        typer.echo(json.dumps(made))
        return
    typer.echo(made["source"])
    told = (counted(made["documents"], "document"), counted(made["size"], "byte"))
    typer.echo(", ".join(told), err=True)


@calibration.command("list")
def list_all(paging: Paging, connection: Connection, as_json: Json = False) -> None:
    """List the calibration sets, newest first."""
    with connection.open() as service:
        page = service.get("/calibration-sets", **asdict(paging))
    none = "no calibration sets yet; upload one: slimgpt calibration upload FILE"
    show_page(page, "calibration list", as_json=as_json, show=_show, none=none)


@calibration.command()
def show(set_id: SetId, connection: Connection, as_json: Json = False) -> None:
    """Show one calibration set."""
    with connection.open() as service:
        found = service.get(f"/calibration-sets/{_bare(set_id)}")
    if as_json:
        typer.echo(json.dumps(found))
        return
    for field in ("id", "source", "name", "format", "documents", "size", "sha256", "owner"):
        typer.echo(f"{field:<10} {found[field]}")
    typer.echo(f"{'created':<10} {found['created_at']}")


@calibration.command()
def delete(
    set_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The sets' ids.")],
    *,
    yes: Yes = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Delete calibration sets that no unfinished job uses; in a terminal, ask first."""
    if not yes:
        confirm(set_ids, "calibration sets")
    with connection.open() as service:
        for set_id in map(_bare, set_ids):
            remove(service, "/calibration-sets", set_id, as_json=as_json)


def _bare(set_id: str) -> str:
    """The id alone; `upload:ID`, as a job names the set, is taken too."""
    return quote(set_id.removeprefix("upload:"), safe="")


def _show(items: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["source"],
            f"{item['documents']:,}",
            f"{item['size']:,}",
            f"{datetime.fromisoformat(item['created_at']):%Y-%m-%d %H:%M}",
            item["name"],
        )
        for item in items
    ]
    show_table(COLUMNS, rows, whole=COLUMNS, right=("documents", "bytes"))
