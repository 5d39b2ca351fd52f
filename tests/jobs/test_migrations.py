"""Migrations make exactly the schema of the models, and unmake it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from jobs.database import downgrade, make_engine, upgrade
from jobs.models import Base
from tests.servers import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/below/bare.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.clone()
    yield server.url(name)
    server.drop(name)


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_and_down(bare_url: str) -> None:
    upgrade(bare_url)
    assert tables(bare_url) == {"alembic_version", "api_keys", "jobs", "job_layers"}
    upgrade(bare_url)  # again: nothing to do
    downgrade(bare_url)
    assert tables(bare_url) == {"alembic_version"}
    upgrade(bare_url)
    assert "jobs" in tables(bare_url)


def test_each_step_back_leaves_what_was_before(bare_url: str) -> None:
    upgrade(bare_url)
    downgrade(bare_url, "0001")
    assert tables(bare_url) == {"alembic_version", "jobs", "job_layers"}
    upgrade(bare_url, "0002")
    assert "api_keys" in tables(bare_url)


def test_no_drift(database_url: str) -> None:
    """The migrated schema has every table, column, type, index and constraint of the models."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
