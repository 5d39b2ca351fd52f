"""`slimgpt jobs`: the jobs of the service, newest first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from rich.markup import escape
from rich.table import Table

from cli.client.http import Connection
from cli.client.paging import Paging, show_page
from cli.options.groups import given, option
from cli.options.shared import Json
from cli.terminal.table import wide_console
from slimgpt.spec.sizes import short_count, short_size

COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "yellow"}
COLUMNS = {"id": 30, "status": 10, "target": 8, "layers": 6, "age": 6}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which jobs are listed; the fields are the parameters of `GET /jobs`."""

    status: Annotated[
        list[str] | None,
        option("--status", "Only jobs of this status; may be given several times."),
    ] = None
    model: Annotated[str | None, option("--model", "Only jobs on this model.")] = None
    metadata: Annotated[
        list[str] | None,
        option("--metadata", "Only jobs with this KEY=VALUE; may be given several times."),
    ] = None
    owner: Annotated[
        str | None, option("--owner", "Only this owner's jobs; only admins see those of others.")
    ] = None
    created_after: Annotated[
        str | None,
        option("--created-after", "Only jobs posted then or later: 2026-11-22T06:00:00Z."),
    ] = None
    created_before: Annotated[
        str | None, option("--created-before", "Only jobs posted earlier.")
    ] = None


def jobs(filters: Filters, paging: Paging, connection: Connection, as_json: Json = False) -> None:
    """List the jobs, newest first."""
    with connection.open() as service:
        page = service.get("/jobs", **given(filters), **asdict(paging))
    none = "no jobs yet; post one: slimgpt submit --model local:NAME --ratio 0.25"
    if given(filters) or paging.cursor:
        none = "no jobs match"
    show_page(page, "jobs", as_json=as_json, show=_show, none=none)


def _show(items: list[dict[str, Any]]) -> None:
    console = wide_console()
    console.print(job_table(items, console.width))


def job_table(items: list[dict[str, Any]], width: int) -> Table:
    """One row per job, at most `width` characters wide; only the model's name is cut.

    Owners are shown if there are several, which only admins see.
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
    """The target size; `?` for targets of another version of the service."""
    if spec.get("parameters") is not None:
        return short_count(spec["parameters"])
    if spec.get("memory") is not None:
        return short_size(spec["memory"])
    return "?" if spec.get("ratio") is None else f"{spec['ratio']:g}"


def _age(created: str) -> str:
    """The age, in the largest unit in which it is at least one."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
