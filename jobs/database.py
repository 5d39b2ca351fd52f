"""Connections and the schema's version: `make_engine`, `upgrade`, `downgrade`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event, make_url

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_SECONDS = 30.0
# A partitioned PostgreSQL must not hold a worker past its lease, nor a request for ever.
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
READ_ONLY = {"sqlite_begin": "BEGIN"}
"""Execution options of a transaction that only reads: on SQLite it takes no write lock."""


def make_engine(url: str) -> Engine:
    """Connect to the store.

    SQLite gets write-ahead logging, foreign keys, and transactions that take the write lock
    when they begin (`BEGIN IMMEDIATE`): a transaction that reads first and writes later could
    otherwise fail with "database is locked" without ever waiting.

    Args:
        url: SQLAlchemy URL, `sqlite:///FILE` or `postgresql+psycopg://…`.

    Raises:
        sqlalchemy.exc.ArgumentError: the URL cannot be read.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, pool_pre_ping=True, connect_args=PATIENCE)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver must not
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)


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


def _migrate(url: str, direction: Literal["upgrade", "downgrade"], revision: str) -> None:
    # Half a second that the processes of the service, which never migrate, need not spend.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)
    finally:
        engine.dispose()
