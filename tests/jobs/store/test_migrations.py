"""Migrations make exactly the schema of the models, and unmake it."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select

from jobs.store.database import downgrade, make_engine, upgrade
from jobs.store.store import Store
from jobs.store.tables import JOBS, Base
from tests.jobs.conftest import PLAN, SPEC, layer


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


RESULTS: list[dict[str, Any]] = [
    {"parameters_after": 450, "ratio_achieved": 0.5, "perplexity": [{"pruned": 7.5}]},
    {"published": "recovered", "perplexity": [{"pruned": 7.5, "recovered": 6.5}]},
    {"published": "pruned", "perplexity": [{"pruned": 7.5, "recovered": 8.5}]},
    {"parameters_after": 10**400, "perplexity": ["a", {"pruned": 1}]},
    {
        "parameters_after": 10,
        "perplexity": [{"pruned": 1.5}],
        "points": [
            {"parameters_after": 20, "perplexity": {"pruned": 1.5}},
            {"parameters_after": 10, "perplexity": {"pruned": 9.5}, "published": "pruned"},
        ],
    },
    {"parameters_after": 10, "points": [{"parameters_after": 20}], "perplexity": [{"pruned": 1}]},
]


def test_what_old_jobs_are_sorted_by_is_what_new_ones_are(bare_url: str) -> None:
    upgrade(bare_url)
    store = Store(make_engine(bare_url))
    for number, result in enumerate(RESULTS):
        job = store.create(SPEC, name=f"Name {number}")
        assert store.claim(job.id, "w") is not None
        if number % 2:
            assert store.planned(job.id, 1, PLAN)
        assert store.finish(job.id, 1, prefix="p", result=result, report={})
    store.create(SPEC)
    columns = [column for column in JOBS.c if column.name.startswith("sort_")]

    def values() -> list[tuple[Any, ...]]:
        with store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(JOBS.c.id))]

    wrote = values()
    store.engine.dispose()
    downgrade(bare_url, "0010")
    upgrade(bare_url)
    assert values() == wrote
    store.engine.dispose()
    assert [row[3] for row in wrote] == [7.5, 6.5, 7.5, None, 9.5, None, None]
    assert wrote[0][:3] == ("name 0", 0.5, 450.0)
    assert wrote[3][2] == 450  # the plan's: no database keeps that result


def test_no_drift(database_url: str) -> None:
    """The migrated schema has every table, column, type, index and constraint of the models."""
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
