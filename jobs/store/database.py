"""Database engines, schema versions, and the identity of a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import DBAPIError

from jobs.store.engines.sqlite import make_sqlite_engine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
BUSY_SECONDS = 30.0
MIGRATION_LOCK = 0x51190001  # any number that nothing else in this database locks
# A partitioned PostgreSQL must not hold a worker past its lease, nor a request for ever.
CONNECT_SECONDS = 10.0
PATIENCE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
LOCK_SECONDS = 10
"""A transaction that nobody goes on with is ended by PostgreSQL after so long.

A worker that froze between two statements would hold its job's row, and the repair of it, for ever.
"""
READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options of a transaction that only reads: on SQLite it takes no write lock."""
CLUSTER = text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "FROM pg_control_system()"
)
UNAVAILABLE = ("42501", "42883")
"""SQLSTATEs of a server that does not tell: it is not allowed; there is no such function."""


def make_engine(url: str, *, answer_seconds: float | None = None) -> Engine:
    """Connect to the store.

    SQLite gets write-ahead logging, foreign keys, and transactions that take the write lock
    when they begin (`BEGIN IMMEDIATE`): a transaction that reads first and writes later could
    otherwise fail with "database is locked" without ever waiting.

    Args:
        url: SQLAlchemy URL, `sqlite:///FILE` or `postgresql+psycopg://…`.
        answer_seconds: a statement, or the wait for a connection or a lock, that takes longer is
            given up with an OperationalError or a TimeoutError, also where the server stands still
            (`jobs.store.engines.postgresql`); None: no limit but SQLite's 30 s.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL cannot be read.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        parsed = parsed.set(drivername="postgresql+psycopg")
        # SQLAlchemy's own pool of 5 and 10: measured with 40 threads that poll, 3 to 15 connections
        # serve as many requests, and every API process takes its share of the server's 100.
        wait = answer_seconds or 30.0
        patience = PATIENCE | {"connect_timeout": max(2, round(min(wait, CONNECT_SECONDS)))}
        engine = create_engine(parsed, pool_pre_ping=True, pool_timeout=wait, connect_args=patience)
        event.listen(engine, "connect", _limited(answer_seconds))
        if answer_seconds is not None:
            # With psycopg, which SQLite does not need.
            from jobs.store.engines.postgresql import bound

            bound(engine, answer_seconds)
        return engine
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return make_sqlite_engine(parsed, answer_seconds or BUSY_SECONDS)


def _limited(seconds: float | None) -> Callable[[Any, Any], None]:
    """What bounds the statements, and the silence within a transaction, of a new connection."""
    limits = {"idle_in_transaction_session_timeout": LOCK_SECONDS, "statement_timeout": seconds}

    def limit(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            for name, value in limits.items():
                if value is not None:
                    cursor.execute(f"SET {name} = {max(1, round(value * 1000))}")
        connection.commit()

    return limit


def _without_cascades(connection: sqlite3.Connection, _record: Any) -> None:
    """For migrations: a table that is changed is copied and dropped, which removes its rows.

    With foreign keys, the rows of other tables that refer to them would go too.
    """
    connection.execute("PRAGMA foreign_keys=OFF")


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`, creating the database file if it is SQLite's."""
    _migrate(url, "upgrade", revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the schema back to `revision`; data of dropped columns is lost."""
    _migrate(url, "downgrade", revision)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """The revision that the schema is at, None for an empty database, and the newest there is."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.execution_options(**READ_ONLY).connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory(str(MIGRATIONS)).get_current_head()


def versions(url: str) -> tuple[str | None, str | None]:
    """`revisions` of the database at a URL; asking makes no file where there is none."""
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
    # Half a second that the processes of the service, which never migrate, need not spend.
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
                # Two that start at once: the second waits, and finds nothing left to do.
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)
    finally:
        engine.dispose()


def identity(engine: Engine) -> str:
    """Which service a database belongs to, as far as the database itself can tell: a cluster's own
    number and the database's in it, or a file's inode.

    Disks and buckets may be shared by several services, by design or by mistake. What lies there
    and belongs to no job of *this* database is removed only where it is marked as this service's.
    The identity is that of the very database, not of its content: a copy of it, restored for a
    trial, is another service, and must not tidy up after the original.

    Returns:
        "" if the database does not tell: then nothing counts as this service's.

    Raises:
        sqlalchemy.exc.OperationalError: it does not answer.
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
