"""`slimgpt jobs`: the jobs of the service, newest first."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.client.http import DEFAULT_URL, ApiKey, Url, connect
from cli.options.shared import Json
from slimgpt.spec.sizes import short_count, short_size

COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "yellow"}
PIPE_WIDTH = 400
COLUMNS = {"id": 30, "status": 10, "target": 8, "layers": 6, "age": 6}


def jobs(  # noqa: PLR0913 - one parameter an option
    *,
    status: Annotated[
        list[str] | None, typer.Option(help="Only jobs of this status; several allowed.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs on this model.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this KEY=VALUE; several allowed.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(help="Only this owner's jobs; others' show to admins alone.")
    ] = None,
    created_after: Annotated[
        str | None, typer.Option(help="Only jobs posted then or later: 2026-11-22T06:00:00Z.")
    ] = None,
    created_before: Annotated[str | None, typer.Option(help="Only jobs posted earlier.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Go on after an earlier list.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List the jobs."""
    with connect(url, api_key) as service:
        page = service.get(
            "/jobs",
            status=status,
            model=model,
            metadata=metadata,
            owner=owner,
            created_after=created_after,
            created_before=created_before,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        typer.echo(json.dumps(page))
        return
    # A table in a pipe must not lose its columns to a terminal width that nobody has.
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    if not page["items"]:
        filtered = any((status, model, metadata, owner, created_after, created_before, cursor))
        hint = "no jobs yet; post one: slimgpt submit --model local:NAME --ratio 0.25"
        console.print("no job is like that" if filtered else hint)
        return
    console.print(job_table(page["items"], console.width))
    if page["next_cursor"]:
        typer.echo(f"more: slimgpt jobs --cursor {page['next_cursor']}")


def job_table(items: list[dict[str, Any]], width: int) -> Table:
    """One row a job, at most `width` characters wide: the model's name gives way, no id does.

    Owners are told where there are several, which only admins see.
    """
    owners = {job["owner"] for job in items}
    columns = COLUMNS | ({"owner": max(map(len, owners))} if len(owners) > 1 else {})
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, fixed in columns.items():
        table.add_column(name, no_wrap=True, width=fixed)
    taken = sum(fixed + 2 for fixed in columns.values())
    table.add_column("model", no_wrap=True, max_width=max(8, width - taken))
    for job in items:
        total = job.get("layers_total")
        table.add_row(
            job["id"],
            f"[{COLOURS.get(job['status'], 'default')}]{job['status']}[/]",
            _target(job["spec"]),
            f"{job['layers_done']}/{total}" if total else "",
            _age(job["created_at"]),
            *([job["owner"]] if len(owners) > 1 else []),
            escape(str(job["spec"].get("model") or "?")),
        )
    return table


def _target(spec: dict[str, Any]) -> str:
    """What was asked for; another version of the service may know other targets."""
    if spec.get("parameters") is not None:
        return short_count(spec["parameters"])
    if spec.get("memory") is not None:
        return short_size(spec["memory"])
    return "?" if spec.get("ratio") is None else f"{spec['ratio']:g}"


def _age(created: str) -> str:
    """How long ago, in the largest unit that is not less than one."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
