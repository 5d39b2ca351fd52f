"""`slimgpt calibration`: texts of one's own, kept by the service for jobs to name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.http import DEFAULT_URL, ApiKey, Url, connect
from cli.client.lifecycle import confirm, remove
from cli.client.upload import upload as send
from cli.options.shared import Json
from slimgpt.spec.sizes import counted
from slimgpt.texts.checks import Format

PIPE_WIDTH = 400
SetId = Annotated[str, typer.Argument(metavar="ID", help="The set's id.")]
calibration = typer.Typer(
    name="calibration",
    help="Upload, list and remove texts that jobs calibrate on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@calibration.command()
def upload(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="JSON lines or text."),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="To know it in a list.  [default: the file's name]")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="What it is, if its name does not say.")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Field that holds the text; found by itself if not said.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Upload a text file and print what a job calls it: upload:ID.

    The file is checked first. The same text uploaded again is the same set.
    """
    with connect(url, api_key) as service:
        made = send(service, file, name=name, text_field=text_field, form=form)
    if as_json:
        typer.echo(json.dumps(made))
        return
    typer.echo(made["source"])
    told = (counted(made["documents"], "document"), counted(made["size"], "byte"))
    typer.echo(", ".join(told), err=True)


@calibration.command("list")
def list_all(
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier list.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List the calibration sets, newest first."""
    with connect(url, api_key) as service:
        page = service.get("/calibration-sets", limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
    elif page["items"]:
        _show(page["items"])
        if page["next_cursor"]:
            typer.echo(f"more: slimgpt calibration list --cursor {page['next_cursor']}")
    else:
        typer.echo("no calibration sets yet; upload one: slimgpt calibration upload FILE")


@calibration.command()
def show(
    set_id: SetId, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Say what a calibration set is."""
    with connect(url, api_key) as service:
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Remove calibration sets that no unfinished job needs; in a terminal, ask first."""
    if not yes:
        confirm(set_ids, "calibration sets")
    with connect(url, api_key) as service:
        for set_id in map(_bare, set_ids):
            remove(service, "/calibration-sets", set_id, as_json=as_json)


def _bare(set_id: str) -> str:
    """The id alone, of what a job calls it too."""
    from urllib.parse import quote

    return quote(set_id.removeprefix("upload:"), safe="")


def _show(items: list[dict[str, Any]]) -> None:
    from datetime import datetime

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:  # a pipe has no width: nothing is cut
        console = Console(width=PIPE_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("source", "documents", "bytes", "created", "name"):
        right = column in ("documents", "bytes")
        table.add_column(column, no_wrap=True, justify="right" if right else "left")
    for one in items:
        created = f"{datetime.fromisoformat(one['created_at']):%Y-%m-%d %H:%M}"
        sizes = (f"{one['documents']:,}", f"{one['size']:,}")
        table.add_row(one["source"], *sizes, created, escape(one["name"]))
    console.print(table)
