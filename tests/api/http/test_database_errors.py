"""Whatever a database raises is a problem document, and its connection serves the next request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
)
from starlette.testclient import TestClient

from api.app import create_app
from jobs.settings import Settings
from jobs.store.database import READ_ONLY
from jobs.store.tables import API_KEYS
from tests import sparse_model
from tests.api.conftest import BODY, CONFIG
from tests.api.http.test_problems import problem

MANY = 20
"""More than the pool has connections: one that is not given back is missed."""
KEY: dict[str, Any] = {"id": "key_1", "owner": "ada", "name": "", "admin": False, "digest": "0"}
RAISED = {
    "data": DataError("SELECT secret", {}, Exception("numeric value out of range")),
    "integrity": IntegrityError("SELECT secret", {}, Exception("duplicate key")),
    "interface": InterfaceError("SELECT secret", {}, Exception("the connection is closed")),
    "internal": InternalError("SELECT secret", {}, Exception("transaction is aborted")),
    "not-supported": NotSupportedError("SELECT secret", {}, Exception("no such feature")),
}


def twice(engine: Engine) -> None:
    """A row that breaks a constraint, in the middle of a transaction that wrote."""
    row = KEY | {"created_at": text("CURRENT_TIMESTAMP")}
    with engine.begin() as connection:
        connection.execute(insert(API_KEYS).values(row))
        connection.execute(insert(API_KEYS).values(row))


def out_of_range(engine: Engine) -> None:
    """A number that the column cannot hold; SQLite has columns without such limits."""
    with engine.execution_options(**READ_ONLY).connect() as connection:
        connection.execute(text("SELECT CAST('1e400' AS double precision) + :n"), {"n": 1}).one()


def no_such_table(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


FAULTS = {"twice": twice, "out-of-range": out_of_range, "no-such-table": no_such_table}


@pytest.fixture
def app(settings: Settings, database_url: str) -> FastAPI:
    """An application over both databases, with addresses at which errors happen."""
    sparse_model.write(settings.models_root / "tiny", CONFIG)
    app = create_app(Settings(**settings.model_dump() | {"database_url": database_url}))

    @app.get("/faults/{name}")
    def fault(name: str, request: Request) -> None:
        FAULTS[name](request.app.state.services.engine)

    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def test_a_connection_comes_back_clean(app: FastAPI, client: TestClient) -> None:
    kinds = {"twice": "internal-error", "out-of-range": "invalid-request"}
    engine: Engine = app.state.services.engine
    kinds["no-such-table"] = "internal-error" if engine.name == "postgresql" else "unavailable"
    if engine.name == "sqlite":
        del kinds["out-of-range"]
    for _ in range(MANY):
        for name, kind in kinds.items():
            document = problem(client.get(f"/faults/{name}"), kind)
            assert "SELECT" not in str(document)
            assert client.get("/jobs").status_code == 200
    assert client.post("/jobs", json=BODY).status_code == 202
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    with engine.execution_options(**READ_ONLY).connect() as connection:
        count = connection.scalar(text("SELECT count(*) FROM api_keys"))
        assert count == 0  # nothing of the transaction is left
        if engine.name == "postgresql":
            idle = text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in trans%'")
            assert connection.scalar(idle) == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data", "invalid-request"),
        ("integrity", "internal-error"),
        ("interface", "unavailable"),
        ("internal", "unavailable"),
        ("not-supported", "internal-error"),
    ],
)
def test_every_error_is_a_problem_document(settings: Settings, name: str, kind: str) -> None:
    """The client raises what nothing has caught."""
    app = create_app(settings)

    @app.get("/raised")
    def raised() -> None:
        raise RAISED[name]

    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        document = problem(client.get("/raised"), kind)
    assert "secret" not in str(document)
