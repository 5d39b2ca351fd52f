"""Database engines, schema versions, and the identity of a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import DBAPIError

from jobs.store.engines.sqlite import make_sqlite_engine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
BUSY_SECONDS = 30.0
MIGRATION_LOCK = 0x51190001  # id of an advisory lock
# An unreachable PostgreSQL must not block a worker past its lease, nor a request for ever.
CONNECT_SECONDS = 10.0
PATIENCE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
LOCK_SECONDS = 10
"""PostgreSQL ends a transaction that is idle for so long.

A worker that stops between two statements would otherwise keep its job's row locked for ever.
"""
READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options of a read-only transaction, which takes no write lock on SQLite."""
CLUSTER = text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "FROM pg_control_system()"
)
UNAVAILABLE = ("42501", "42883")
"""SQLSTATEs: no permission for the function; no such function."""


def make_engine(url: str, *, answer_seconds: float | None = None) -> Engine:
    """Connect to the store.

    SQLite gets write-ahead logging, foreign keys, and transactions that take the write lock when
    they begin (`BEGIN IMMEDIATE`); a transaction that reads first and writes later could fail with
    "database is locked" without waiting.

    Args:
        url: SQLAlchemy URL, `sqlite:///FILE` or `postgresql+psycopg://…`.
        answer_seconds: time limit of a statement and of waits for a connection or lock, after which
            they raise OperationalError or TimeoutError, even if the server hangs
            (`jobs.store.engines.postgresql`); None: no limit except SQLite's 30 s.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL is invalid.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        parsed = parsed.set(drivername="postgresql+psycopg")
        # SQLAlchemy's default pool of 5 to 15: measured with 40 polling threads, more connections
        # serve no more requests, and the server has 100 for all processes.
        wait = answer_seconds or 30.0
        patience = PATIENCE | {"connect_timeout": max(2, round(min(wait, CONNECT_SECONDS)))}
        engine = create_engine(parsed, pool_pre_ping=True, pool_timeout=wait, connect_args=patience)
        event.listen(engine, "connect", _limited(answer_seconds))
        if answer_seconds is not None:  # imports psycopg, which SQLite does not need
            from jobs.store.engines.postgresql import bound

            bound(engine, answer_seconds)
        return engine
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return make_sqlite_engine(parsed, answer_seconds or BUSY_SECONDS)


def _limited(seconds: float | None) -> Callable[[Any, Any], None]:
    """A listener that sets the time limits of a new connection."""
    limits = {"idle_in_transaction_session_timeout": LOCK_SECONDS, "statement_timeout": seconds}

    def limit(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in limits.items():
                if value is not None:
                    cursor.execute(f"SET {name} = {max(1, round(value * 1000))}")
        connection.commit()

    return limit


def lock_owner(connection: Connection, resource: str, owner: str) -> None:
    """Serialise transactions that add a resource of an owner, until they end.

    By an advisory lock on PostgreSQL; on SQLite the transaction holds the only write lock.
    """
    if connection.dialect.name == "postgresql":
        name = func.hashtextextended(f"{resource} {owner}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(name)))


def _without_cascades(connection: sqlite3.Connection, _record: Any) -> None:
    """Disable foreign keys for migrations, which copy a changed table and drop the old one.

    Dropping it would otherwise delete the rows of other tables that refer to it.
    """
    connection.execute("PRAGMA foreign_keys=OFF")


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade the schema to `revision`; creates the file of a SQLite database."""
    _migrate(url, "upgrade", revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Downgrade the schema to `revision`; data of dropped columns is lost."""
    _migrate(url, "downgrade", revision)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """The schema's revision, None for an empty database, and the newest revision."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.execution_options(**READ_ONLY).connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory(str(MIGRATIONS)).get_current_head()


def versions(url: str) -> tuple[str | None, str | None]:
    """`revisions` of the database at a URL; creates no file."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        from alembic.script import ScriptDirectory

        return None, ScriptDirectory(str(MIGRATIONS)).get_current_head()
    engine = make_engine(url)
    try:
        return revisions(engine)
    finally:
        engine.dispose()


def _migrate(url: str, direction: Literal["upgrade", "downgrade"], revision: str) -> None:
    # Takes half a second, which the processes of the service, which never migrate, save.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # a ConfigParser
    config.set_main_option("path_separator", "os")
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _without_cascades)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Of two concurrent migrations the second waits, and has nothing left to do.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)
    finally:
        engine.dispose()


def identity(engine: Engine) -> str:
    """An identifier of the database: PostgreSQL's system identifier and oid, or a file's inode.

    Disks and buckets may be shared by several services, on purpose or by mistake. Files that belong
    to no job of this database are removed only if they are marked with its identity. A restored
    copy of a database has another identity, so it never removes the files of the original.

    Returns:
        "" if the database does not reveal it; then no files are removed.

    Raises:
        sqlalchemy.exc.OperationalError: the database does not respond.
    """
    if engine.dialect.name == "sqlite":
        return _file_identity(engine.url.database)
    try:
        with engine.execution_options(**READ_ONLY).connect() as connection:
            system, database = connection.execute(CLUSTER).one()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in UNAVAILABLE:
            return ""
        raise
    return f"postgresql:{system}:{database}"


def _file_identity(name: str | None) -> str:
    if not name or name == ":memory:":
        return ""
    path = Path(name).resolve()
    return f"sqlite:{path}:{path.stat().st_ino}"
