"""`slimgpt keys`: make, list and revoke API keys, directly in the service's database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options.shared import Json
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.settings import Settings
    from jobs.store.keys import ApiKey

HOME = typer.Option(
    "--home",
    envvar="SLIMGPT_HOME",
    help="Folder of the service; its database, unless SLIMGPT_DATABASE_URL names another.",
)
Home = Annotated[Path | None, HOME]
keys = typer.Typer(
    name="keys",
    help="Make, list and revoke API keys, directly in the service's database.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@keys.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose jobs the key opens.")],
    admin: Annotated[bool, typer.Option("--admin", help="The key opens everybody's jobs.")] = False,
    name: Annotated[str, typer.Option(help="What the key is for, to know it in a list.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it. It is shown this once and not kept anywhere."""
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
    """List the keys, revoked ones too, oldest first; never the keys themselves."""
    from jobs.store.keys import list_keys

    with _database(home) as (engine, _):
        found = list_keys(engine, owner)
    if as_json:
        typer.echo(json.dumps({"items": [_plain(key) for key in found]}))
    elif found:
        _show(found)
    else:
        typer.echo("no keys yet; make one: slimgpt keys create --owner NAME")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as in the list.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: from now on no request with it is answered."""
    from jobs.store.keys import revoke_key

    with _database(home) as (engine, _):
        revoked = revoke_key(engine, key_id)
    if revoked is None:
        fail(f"there is no key {key_id!r}; see slimgpt keys list")
    typer.echo(json.dumps(_plain(revoked)) if as_json else f"{key_id} of {revoked.owner} revoked")


@contextmanager
def _database(home: Path | None) -> Iterator[tuple[Engine, Settings]]:
    """The service's database and settings; what is wrong with them ends the command."""
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
            f"the database has no usable keys ({reason}); does it run, and is it at the newest "
            "schema? `slimgpt up` and the migration step bring it there"
        )
    finally:
        engine.dispose()


def _require_file(url: str) -> None:
    """SQLite would make an empty database of a misspelt name."""
    from sqlalchemy import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        fail(f"there is no database {parsed.database}; `slimgpt up` makes one, or name another "
             "with --home or SLIMGPT_DATABASE_URL")  # fmt: skip


def _plain(key: ApiKey) -> dict[str, Any]:
    """The key's row as JSON takes it."""
    times = {n: v.isoformat() for n, v in asdict(key).items() if isinstance(v, datetime)}
    return {**asdict(key), **times}


def _show(found: list[ApiKey]) -> None:
    from cli.terminal.tables import show_table

    rows = []
    for key in found:
        used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "valid"
        role = "admin" if key.admin else "owner"
        created = f"{key.created_at:%Y-%m-%d %H:%M}"
        rows.append((key.id, key.owner, role, key.name, created, used, state))
    columns = ("id", "owner", "role", "name", "created", "last used", "state")
    show_table(columns, rows, whole=("id",))
