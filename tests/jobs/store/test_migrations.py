"""Migrations make exactly the schema of the models, and unmake it."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from jobs.store.database import downgrade, make_engine, upgrade
from jobs.store.store import Store
from jobs.store.tables import Base
from tests.jobs.conftest import SPEC, layer


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_and_down(bare_url: str) -> None:
    upgrade(bare_url)
    wanted = {
        "api_keys",
        "calibration_sets",
        "jobs",
        "job_layers",
        "webhooks",
        "webhook_deliveries",
    }
    assert wanted < tables(bare_url)
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


def test_rows_survive_every_step(bare_url: str) -> None:
    """On SQLite a table may be copied and dropped, on which rows of other tables depend."""
    upgrade(bare_url)
    store = Store(make_engine(bare_url))
    job = store.create(SPEC)
    store.claim(job.id, "w")
    store.layer_done(job.id, 1, layer(0))
    before = (store.get(job.id), store.layers(job.id))
    for revision in ("0005", "0004", "0003", "0002", "0001"):
        store.engine.dispose()
        downgrade(bare_url, revision)
    upgrade(bare_url)
    assert (store.get(job.id), store.layers(job.id)) == before
    assert len(before[1]) == 1
    store.engine.dispose()


def test_no_drift(database_url: str) -> None:
    """The migrated schema has every table, column, type, index and constraint of the models."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
