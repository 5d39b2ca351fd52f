"""`slimgpt keys`: create, list and revoke API keys, directly in the service's database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options.groups import Commands
from cli.options.shared import Json
from cli.terminal.exit_status import fail
from cli.terminal.table import wide_console
from migrations.command import Home

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.settings import Settings
    from jobs.store.keys import ApiKey

COLUMNS = ("id", "owner", "role", "name", "created", "last used", "state")
keys = Commands("keys", help="Create, list and revoke API keys in the service's database.")


@keys.command()
def create(
    owner: Annotated[str, typer.Option(help="Owner whose jobs the key gives access to.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="The key gives access to the jobs of all owners.")
    ] = False,
    name: Annotated[str, typer.Option(help="What the key is for; shown in lists.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Create an API key and print it. It is not stored and not shown again.

    \b
    Example:
      slimgpt keys create --owner ada --name laptop
    """
    from jobs.store.keys import BadKeyRequest, Keys

    with _database(home) as (engine, settings):
        try:
            made = Keys(engine, settings.key_pepper.get_secret_value()).create(
                owner, name=name, admin=admin
            )
        except BadKeyRequest as error:
            fail(str(error))
    if as_json:
        typer.echo(json.dumps({**_plain(made.key), "key": made.text}))
        return
    typer.echo(made.text)
    role = "an admin" if admin else "an owner"
    note = f"{made.key.id} for {owner}, {role}; keep the key, it is not shown again"
    typer.echo(note, err=True)


@keys.command("list")
def list_all(
    owner: Annotated[str | None, typer.Option(help="Only this owner's keys.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List all keys, including revoked ones, oldest first, without their secrets.

    \b
    Example:
      slimgpt keys list --owner ada
    """
    from jobs.store.keys import list_keys

    with _database(home) as (engine, _):
        found = list_keys(engine, owner)
    if as_json:
        typer.echo(json.dumps({"items": [_plain(key) for key in found]}))
    elif found:
        _show(found)
    else:
        typer.echo("no keys yet; create one: slimgpt keys create --owner NAME")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Revoke a key; requests with it are refused at once.

    \b
    Example:
      slimgpt keys revoke key_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    from jobs.store.keys import revoke_key

    with _database(home) as (engine, _):
        revoked = revoke_key(engine, key_id)
    if revoked is None:
        fail(f"there is no key {key_id!r}; see slimgpt keys list")
    typer.echo(json.dumps(_plain(revoked)) if as_json else f"{key_id} of {revoked.owner} revoked")


@contextmanager
def _database(home: Path | None) -> Iterator[tuple[Engine, Settings]]:
    """The service's database and settings; errors end the command."""
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from jobs.settings import BadSettings, load
    from jobs.store.database import make_engine

    try:
        settings = load() if home is None else load(home=home)
        url = settings.database_url.get_secret_value()
        _require_file(url)
        engine = make_engine(url)
    except (BadSettings, ArgumentError) as error:
        fail("; ".join(str(error).splitlines()))
    try:
        yield engine, settings
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        fail(
            f"the keys in the database cannot be read ({reason}); check that it runs, and bring it "
            "to the newest schema with `slimgpt database upgrade`"
        )
    finally:
        engine.dispose()


def _require_file(url: str) -> None:
    """Check that a SQLite file exists, because SQLite would create it."""
    from sqlalchemy import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        fail(f"there is no database {parsed.database}; `slimgpt up` creates one, or name another "
             "with --home or SLIMGPT_DATABASE_URL")  # fmt: skip


def _plain(key: ApiKey) -> dict[str, Any]:
    """The key as JSON values."""
    times = {n: v.isoformat() for n, v in asdict(key).items() if isinstance(v, datetime)}
    return {**asdict(key), **times}


def _show(found: list[ApiKey]) -> None:
    from slimgpt.client.models.base import Rows

    rows = [
        (
            key.id,
            key.owner,
            "admin" if key.admin else "owner",
            key.name,
            _minute(key.created_at),
            _minute(key.last_used_at) if key.last_used_at else "never",
            f"revoked {_minute(key.revoked_at)}" if key.revoked_at else "valid",
        )
        for key in found
    ]
    wide_console().print(Rows(COLUMNS, rows).table(whole=("id",)))


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
