"""`slimgpt jobs`: the jobs of the service, newest first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from cli.client.connection import Connection
from cli.client.paging import Paging, show_page
from cli.options.groups import given, option
from cli.options.shared import Json
from cli.terminal.table import PIPE_WIDTH, wide_console

if TYPE_CHECKING:
    from slimgpt.client import JobPage
    from slimgpt.client.models.base import Rows

COLOURS = {"succeeded": "green", "failed": "red", "running": "cyan", "cancelled": "yellow"}
WHOLE = ("id", "status", "parameters", "perplexity", "layers", "age")


def _statuses() -> list[str]:
    return ["queued", "cancelling", *COLOURS]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which jobs are listed; the fields are the parameters of `GET /v1/jobs`."""

    status: Annotated[
        list[str] | None,
        option(
            "--status",
            "Only jobs of this status: queued, running, cancelling, succeeded, failed or "
            "cancelled; may be given several times.",
            autocompletion=_statuses,
        ),
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
    """List the jobs, newest first.

    \b
    Example:
      slimgpt jobs --status failed --metadata team=search
    """
    with connection.open() as client:
        page = client.jobs.list(**given(filters), **asdict(paging))
    none = "no jobs yet; post one: slimgpt submit local:NAME --ratio 0.25"
    if given(filters) or paging.cursor:
        none = "no jobs match"
    show_page(page, "jobs", as_json=as_json, show=_show, none=none)


def _show(page: JobPage) -> None:
    show_jobs(wide_console(), page.rows())


def show_jobs(console: Console, jobs: Rows) -> None:
    """Print a row a job; in a terminal too narrow for it a few lines a job. No text is cut."""
    table = jobs.table(WHOLE, COLOURS)
    unbounded = console.options.update(max_width=PIPE_WIDTH)
    if console.measure(table, options=unbounded).maximum <= console.width:
        console.print(table)
        return
    for row in jobs.rows:
        facts = dict(zip(jobs.header, row, strict=True))
        name, status = facts.pop("id"), facts.pop("status")
        state = Text(f"  {status}, {facts.pop('age')} old", COLOURS.get(status, ""))
        console.print(Text.assemble((name, "bold"), state))
        said = Text("  ".join(f"{what} {value}" for what, value in facts.items() if value))
        console.print(Padding(said, (0, 0, 0, 2)))
