"""`slimgpt report` and `slimgpt compare`: reports of jobs, in the terminal or as an HTML page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid
from rich.text import Text

from cli.client.connection import Connection
from cli.options.shared import Json
from cli.terminal.exit_status import expected, fail
from cli.terminal.side_by_side import print_beside
from cli.terminal.summary import show_facts
from cli.terminal.table import wide_console

if TYPE_CHECKING:
    from slimgpt.report.comparison.rows import Entry
    from slimgpt.report.document import Document
    from slimgpt.report.sweep import Sweep
    from slimgpt.report.tables.cells import Table

JOB = re.compile(r"job_[0-9a-z]+")

Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page to FILE.")
]


def report(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="Folder of a checkpoint or of a finished run, a report.json, or a job's id.",
        ),
    ],
    *,
    html: Html = None,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Show the report of a pruned model; --html writes a page.

    \b
    Example:
      slimgpt report smaller --html report.html
    """
    with expected():
        found = load_report(place, connection)
        if html is not None:
            _write(html, _page(found))
        if as_json:
            typer.echo(json.dumps(found.raw))
        elif html is None:
            _show(found)


def compare(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACE", help="Folders, files and ids of jobs, as for `slimgpt report`."
        ),
    ],
    *,
    html: Html = None,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Show reports side by side, the least pruned first.

    The page that --html writes has plots, too.

    \b
    Example:
      slimgpt compare smaller smallest --html comparison.html
    """
    from slimgpt.report.comparison.page import page
    from slimgpt.report.comparison.rows import rows
    from slimgpt.report.comparison.table import table

    with expected():
        found = [(place, load_report(place, connection)) for place in places]
        entries = [entry for place, told in found for entry in _entries(told, place)]
        compared = rows(entries)
        if html is not None:
            _write(html, page(compared))
        if as_json:
            typer.echo(json.dumps({"rows": compared}))
        elif html is None:
            print_beside(table(compared))


def load_report(place: str, connection: Connection) -> Document | Sweep:
    """The report of a folder, a file or a job.

    Raises:
        SlimGPTError: there is none, or it cannot be read.
    """

    if JOB.fullmatch(place) and not Path(place).exists():
        with connection.open() as client:
            return client.jobs.report(place)
    return read_report(Path(place))


def read_report(path: Path) -> Document | Sweep:
    """The report of a folder or a file.

    Raises:
        SlimGPTError: there is none, or it cannot be read.
    """
    from slimgpt.report import document, sweep

    content = document.content(path)
    return sweep.of(content, str(path)) if sweep.is_one(content) else document.read(path)


def _entries(found: Document | Sweep, name: str) -> list[Entry]:
    from slimgpt.report import sweep
    from slimgpt.report.comparison.rows import Entry

    return found.entries(name) if isinstance(found, sweep.Sweep) else [Entry(name, found)]


def _page(found: Document | Sweep) -> str:
    from slimgpt.report import html_page, sweep
    from slimgpt.report.comparison.page import page
    from slimgpt.report.comparison.rows import rows

    if isinstance(found, sweep.Sweep):
        return page(rows(found.entries()), found.verdict)
    return html_page.render(found)


def _show(found: Document | Sweep) -> None:
    from slimgpt.report import sweep
    from slimgpt.report.comparison.rows import rows
    from slimgpt.report.comparison.table import table
    from slimgpt.report.tables.cells import printable

    if isinstance(found, sweep.Sweep):
        wide_console().print(Text(printable(found.verdict), style="bold"))
        print_beside(table(rows(found.entries())))
    else:
        _print(found)


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}")
    typer.echo(f"written: {file}", err=True)


def _print(document: Document) -> None:
    from slimgpt.report.key_facts import facts
    from slimgpt.report.tables.cells import printable
    from slimgpt.report.tables.tables import tables

    console = wide_console()
    if document.verdict:
        console.print(Text(printable(document.verdict), style="bold"))
    if document.assessment:
        told = document.assessment
        for sentence in (*told.evidence, *told.advice):
            console.print(Text(printable(sentence)))
    for warning in document.warnings:
        console.print(Text(f"warning: {printable(warning)}", style="yellow"))
    for table in tables(document).values():
        console.print()
        console.print(Text(table.title, style="bold"))
        console.print(_grid(table))
    console.print()
    show_facts(console, [(f"{name.lower()} ", value) for name, value in facts(document)])


def _grid(table: Table) -> Grid:
    """A report's table in the terminal: numbers right-aligned and never wrapped."""
    headed = any(table.header)
    grid = Grid(box=None, header_style="dim", pad_edge=False, show_header=headed)
    for name, cell in zip(table.header, table.rows[0], strict=True):
        numeric = cell.numeric and headed
        grid.add_column(
            Text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=False
        )
    for row in table.rows:
        grid.add_row(*(Text(cell.text, no_wrap=cell.numeric) for cell in row))
    return grid
