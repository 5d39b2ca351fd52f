"""Pages of the service's lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from cli.options.groups import option

if TYPE_CHECKING:
    from slimgpt.client.models.base import Rows

WHOLE = ("id", "source", "job", "status", "documents", "bytes", "created")


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which part of a list."""

    limit: Annotated[int, option("--limit", "Largest number of items.", min=1, max=200)] = 50
    cursor: Annotated[
        str | None, option("--cursor", "Continue an earlier list at this cursor.")
    ] = None


class Page(Protocol):
    """Some items of a list."""

    @property
    def items(self) -> list[Any]:
        """The items."""

    @property
    def next_cursor(self) -> str | None:
        """Asks for the next page; None: this is the last."""

    @property
    def raw(self) -> dict[str, Any]:
        """As the service sent it."""

    def rows(self) -> Rows:
        """The page as a table."""


P = TypeVar("P", bound=Page)


def show_page(
    page: P, command: str, *, as_json: bool, none: str, show: Callable[[P], None] | None = None
) -> None:
    """Print a page, and how to get the next one.

    Args:
        page: the service's response.
        command: the command that continues the list, without `--cursor`.
        none: message for an empty list.
        show: prints it; default: as a table.
    """
    if as_json:
        typer.echo(json.dumps(page.raw))
        return
    if page.items:
        (show or _show)(page)
    else:
        typer.echo(none)
    if page.next_cursor:
        typer.echo(f"more: slimgpt {command} --cursor {page.next_cursor}")


def _show(page: Page) -> None:
    from cli.terminal.table import wide_console

    wide_console().print(page.rows().table(whole=WHOLE))
