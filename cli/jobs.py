"""`slimgpt jobs`: the jobs of the service, newest first."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.client import DEFAULT_URL, Json, Url, connect

COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "yellow"}
PIPE_WIDTH = 200


def jobs(
    status: Annotated[str | None, typer.Option(help="Only jobs of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier list.")] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List the jobs."""
    with connect(url) as service:
        page = service.get("/jobs", status=status, limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    # A table in a pipe must not lose its columns to a terminal width that nobody has.
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    if not page["items"]:
        console.print("no jobs yet; post one: slimgpt submit --model local:NAME --ratio 0.25")
        return
    console.print(job_table(page["items"]))
    if page["next_cursor"]:
        typer.echo(f"more: slimgpt jobs --cursor {page['next_cursor']}")


def job_table(items: list[dict[str, Any]]) -> Table:
    """One row a job."""
    table = Table(box=None, header_style="bold")
    for name in ("id", "status", "model", "ratio", "layers", "created"):
        table.add_column(name, no_wrap=True)
    for job in items:
        total = job.get("layers_total")
        table.add_row(
            job["id"],
            f"[{COLOURS.get(job['status'], 'default')}]{job['status']}[/]",
            escape(job["spec"]["model"]),
            f"{job['spec']['ratio']:g}",
            f"{job['layers_done']}/{total}" if total else "",
            job["created_at"][:19].replace("T", " "),
        )
    return table
