"""What is asked often is answered from an index, in a table of 10,000 jobs, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text

from jobs.cursors import encode
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.lists.order import Order, SortKey
from jobs.store.records import StaleFiles
from jobs.store.store import Store
from jobs.store.tables import JOBS
from tests.jobs.conftest import PLAN, SPEC, layer
from tests.servers import PostgresServer

ROWS, OWNERS = 10_000, 20
NOW = datetime.now(UTC)


def job_id(number: int) -> str:
    return f"job_{number:026d}"


def row(number: int) -> dict[str, Any]:
    """Mostly jobs that are over, as in any service that has run for a while."""
    status = ("queued", "running")[number % 2] if number >= ROWS - 300 else "succeeded"
    over, then = status == "succeeded", NOW - timedelta(minutes=ROWS - number)
    return {
        "id": job_id(number),
        "owner": f"owner-{number % OWNERS}",
        "idempotency_key": f"key-{number}",
        "spec": SPEC.model_dump(mode="json"),
        "metadata": {"team": "search", "note": "x" * 200},
        "status": status,
        "lease_epoch": int(status != "queued"),
        "attempt": int(status != "queued"),
        "max_attempts": 3,
        "worker": "host:1" if status == "running" else None,
        "lease_expires_at": NOW + timedelta(hours=1) if status == "running" else None,
        "cancel_requested": False,
        "layers_done": 32 * over,
        "plan": {"parameters_before": 1, "note": "y" * 300},
        "result": {"perplexity": [], "note": "z" * 300} if over else None,
        "warnings": [],
        "artifacts_prefix": f"jobs/{job_id(number)}/1" if over and number > ROWS / 2 else None,
        "artifacts_bytes": 10 if over else None,
        "artifacts_removed_at": None,
        "swept_epoch": int(over),
        "sort_name": f"model {number * 7919 % ROWS}",
        "sort_ratio": number % 7 / 10,
        "sort_parameters": float(number * 104729 % ROWS) if number % 10 else None,
        "sort_perplexity": float(number * 7919 % ROWS) if over else None,
        "announced": over,
        "created_at": then,
        "queued_at": then,
        "finished_at": then if over else None,
        "updated_at": then,
        "dispatched_at": then if status == "queued" else None,
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store of many jobs."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("large") / "large.db"
        path.write_bytes(request.getfixturevalue("migrated_sqlite").read_bytes())
        url = f"sqlite:///{path}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.url(server.clone("template"))
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(JOBS), [row(number) for number in range(ROWS)])
    with engine.connect() as connection:
        analyse = connection.execution_options(isolation_level="AUTOCOMMIT")
        analyse.execute(text("ANALYZE" if request.param == "sqlite" else "VACUUM ANALYZE jobs"))
    yield Store(engine)
    engine.dispose()


def next_page(order: Order, store: Store) -> Any:
    return store.list(order=order, cursor=store.list(order=order, limit=200).next_cursor)


ASKED: dict[str, Callable[[Store], Any]] = {
    "status": lambda store: store.status_row(job_id(77), "owner-17"),
    "get": lambda store: store.get(job_id(77)),
    "own list": lambda store: store.list(owner="owner-3", limit=50),
    "own list, next page": lambda store: store.list(
        owner="owner-3", cursor=store.list(owner="owner-3").next_cursor
    ),
    "all": lambda store: store.list(limit=50),
    "held": lambda store: store.list(status=[Status.RUNNING, Status.CANCELLING], limit=1),
    "claim": lambda store: store.claim(job_id(77), "w"),
    "claim next": lambda store: store.claim_next("w"),
    "renew": lambda store: store.renew(job_id(ROWS - 1), 1),
    "reap": lambda store: store.reap(),
    "undispatched": lambda store: store.undispatched(5),
    "unanswered": lambda store: store.unanswered(300, 100),
    "awaited": lambda store: store.awaited(),
    "same key": lambda store: store.create(
        SPEC, owner="owner-5", idempotency_key="new", max_active=99
    ),
    "unswept": lambda store: store.unswept(),
    "expire by age": lambda store: store.expire_older(6.9),
    "outdated": lambda store: store.outdated(6.9),
    "stale files": lambda store: store.stale_files([job_id(n) for n in range(100)]),
    "swept": lambda store: store.swept(StaleFiles(job_id(1), 1, None, expired=False)),
}
SORTS = [
    Order(key, down) for key in SortKey if key is not SortKey.PROGRESS for down in (False, True)
]
ASKED |= {f"sorted by {order}": partial(Store.list, order=order, limit=50) for order in SORTS}
ASKED |= {f"sorted by {order}, next page": partial(next_page, order) for order in SORTS}
ASKED |= {
    f"sorted by {order}, without a value": partial(
        Store.list, order=order, cursor=encode(json.dumps([str(order), None, job_id(ROWS)]))
    )
    for order in (Order(SortKey.PERPLEXITY, False), Order(SortKey.PERPLEXITY))
}


def told(engine: Engine, ask: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The statements, with their parameters, that this brings about."""
    said: list[tuple[str, Any]] = []

    def listen(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if " jobs" in statement.lower().replace("\n", " "):
            said.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", listen)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    return said


@pytest.mark.parametrize("name", ASKED)
def test_no_table_is_read_through(large: Store, name: str) -> None:
    statements = told(large.engine, lambda: ASKED[name](large))
    assert statements
    sqlite = large.engine.dialect.name == "sqlite"
    for statement, parameters in statements:
        if statement.startswith("INSERT"):
            continue
        explain = ("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + statement
        with large.engine.connect() as connection:
            rows = connection.exec_driver_sql(explain, parameters).all()
        plan = "\n".join(str(line[-1]) for line in rows)
        assert "Seq Scan on jobs" not in plan, plan
        through = [s for s in plan.splitlines() if s.startswith("SCAN jobs") and "INDEX" not in s]
        assert through == [], plan


def test_a_lease_and_a_layer_touch_no_index(postgres_url: str) -> None:
    """PostgreSQL updates a row in place (HOT) if no indexed column changes."""
    store = Store(make_engine(postgres_url))
    job = store.create(SPEC)
    assert store.claim(job.id, "w") is not None
    assert store.planned(job.id, 1, PLAN)
    before = updates(store.engine)
    for _ in range(10):
        assert store.renew(job.id, 1) is not None
    for number in range(2):
        assert store.layer_done(job.id, 1, layer(number))
    made, in_place = (now - then for now, then in zip(updates(store.engine), before, strict=True))
    store.engine.dispose()
    assert made == 14
    assert in_place > made - 3  # one may have to move to another page


def updates(engine: Engine) -> tuple[int, int]:
    """Updates of jobs so far, and those in place."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.commit()
        counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
        found = connection.execute(text(counted)).one()
    return found[0], found[1]
