"""`python -m migrations` and `slimgpt database`: show and change the schema version.

Independent of the engine and torch, like the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sqlalchemy import URL

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="SLIMGPT_HOME",
        help="Folder of the service with its database, unless SLIMGPT_DATABASE_URL is set.",
    ),
]
app = typer.Typer(
    name="database",
    help="Show and change the schema version of the database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Target version.")] = "head",
    home: Home = None,
) -> None:
    """Upgrade the schema to the newest version, or to REVISION; idempotent.

    \b
    Example:
      slimgpt database upgrade
    """
    from jobs.store.database import upgrade

    _move(upgrade, revision, home)


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Target version; `base` removes all tables.")],
    home: Home = None,
) -> None:
    """Downgrade the schema to REVISION. Data of removed columns and tables is lost.

    \b
    Example:
      slimgpt database downgrade 0001
    """
    from jobs.store.database import downgrade

    _move(downgrade, revision, home)


@app.command()
def current(home: Home = None) -> None:
    """Show the schema version; exit status 1 if it is not the newest.

    \b
    Example:
      slimgpt database current
    """
    from jobs.store import database

    with _named(home) as url:
        at, newest = database.versions(url)
        typer.echo(f"{_shown(url)}: at {at or 'no version'}, the newest is {newest}")
    if at != newest:
        raise typer.Exit(1)


def _move(step: Callable[[str, str], None], revision: str, home: Path | None) -> None:
    """Migrate the schema and print both versions."""
    from jobs.store.database import versions

    with _named(home) as url:
        before, _ = versions(url)
        step(url, revision)
        after, _ = versions(url)
        typer.echo(f"{_shown(url)}: {_step(before, after)}")


@contextmanager
def _named(home: Path | None) -> Iterator[str]:
    """The database URL of the settings; errors are printed on one line."""
    from alembic.util import CommandError
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from jobs.settings import BadSettings, load

    try:
        settings = load() if home is None else load(home=home)
        url = settings.database_url.get_secret_value()
        yield url
    except (BadSettings, CommandError, OSError) as error:
        _fail(str(error))
    except ArgumentError:  # its message contains the URL with the password
        _fail("SLIMGPT_DATABASE_URL is not a valid URL: use sqlite:///FILE or postgresql://…")
    except DBAPIError as error:
        _fail(f"{_shown(url)} cannot be used: {' '.join(str(error.orig).split())}")


def _shown(url: str) -> str:
    from sqlalchemy import make_url

    parsed: URL = make_url(url)
    return parsed.render_as_string(hide_password=True)


def _step(before: str | None, after: str | None) -> str:
    if before == after:
        return f"at {after or 'no version'} already"
    return f"from {before or 'no version'} to {after or 'no version'}"


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
