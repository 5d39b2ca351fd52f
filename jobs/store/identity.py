"""Which service a database belongs to, as far as the database itself can tell.

Disks and buckets may be shared by several services, by design or by mistake. What lies there and
belongs to no job of *this* database is removed only where it is marked as this service's. The
identity is that of the very database, not of its content: a copy of it, restored for a trial, is
another service, and must not tidy up after the original.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from jobs.store.database import READ_ONLY

CLUSTER = text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "FROM pg_control_system()"
)


def identity(engine: Engine) -> str:
    """The database's identity: a cluster's own number and the database's in it, or a file's inode.

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
        if getattr(error.orig, "sqlstate", None) in (
            "42501",
            "42883",
        ):  # not allowed; no such thing
            return ""
        raise
    return f"postgresql:{system}:{database}"


def _file_identity(name: str | None) -> str:
    if not name or name == ":memory:":
        return ""
    path = Path(name).resolve()
    return f"sqlite:{path}:{path.stat().st_ino}"
