"""Pages of the service's lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.options.groups import option


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which part of a list."""

    limit: Annotated[int, option("--limit", "Largest number of items.", min=1, max=200)] = 50
    cursor: Annotated[
        str | None, option("--cursor", "Continue an earlier list at this cursor.")
    ] = None


def show_page(
    page: dict[str, Any],
    command: str,
    *,
    as_json: bool,
    show: Callable[[list[dict[str, Any]]], None],
    none: str,
) -> None:
    """Print a page, and how to get the next one.

    Args:
        page: the service's response.
        command: the command that continues the list, without `--cursor`.
        none: message for an empty list.
    """
    if as_json:
        typer.echo(json.dumps(page))
        return
    if page["items"]:
        show(page["items"])
    else:
        typer.echo(none)
    if page["next_cursor"]:
        typer.echo(f"more: slimgpt {command} --cursor {page['next_cursor']}")
