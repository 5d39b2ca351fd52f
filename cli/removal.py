"""Removing things of the service, each by its id."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer

from cli.client import Service


def confirm(ids: Sequence[str], plural: str, lost: str = "") -> None:
    """Ask in a terminal whether they shall go; a pipe is not asked.

    Raises:
        typer.Abort: they shall not.
    """
    if sys.stdin.isatty():
        what = ids[0] if len(ids) == 1 else f"{len(ids)} {plural}"
        typer.confirm(f"remove {what}{lost}?", abort=True, err=True)


def remove(service: Service, path: str, one: str, *, as_json: bool) -> None:
    """Remove what has this id below a path of the API, and say so."""
    service.delete(f"{path}/{one}")
    typer.echo(json.dumps({"id": one, "deleted": True}) if as_json else f"{one} deleted")
