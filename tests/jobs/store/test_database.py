"""What SQLite must be told to be safe with several processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import exc, literal, select, text

from jobs.store.clock import UtcDateTime, from_now
from jobs.store.database import READ_ONLY, make_engine
from jobs.store.engines import postgresql
from tests.servers import PostgresServer, wait_until


def test_sqlite_is_prepared(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.connect() as connection:
        answers = [
            connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        ]
    assert answers == ["wal", 1, 30_000, 2]
    engine.dispose()


def test_readers_do_not_wait_for_a_writer(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    with engine.begin() as writer:
        writer.execute(text("DELETE FROM jobs"))
        with engine.execution_options(**READ_ONLY).connect() as reader:
            assert reader.scalar(text("SELECT count(*) FROM jobs")) == 0
    engine.dispose()


def test_layers_need_a_job(database_url: str) -> None:
    engine = make_engine(database_url)
    columns = "job_id, layer, epoch, layers_total, heads_before, heads, kv_heads_before, kv_heads"
    orphan = text(f"INSERT INTO job_layers ({columns}) VALUES ('none', 0, 1, 1, 1, 1, 1, 1)")
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(orphan)
    engine.dispose()


def test_times_keep_their_zone(database_url: str) -> None:
    engine = make_engine(database_url)
    east = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with engine.connect() as connection:
        back = connection.scalar(select(literal(east, UtcDateTime())))
        clock = connection.execute(select(from_now())).scalar_one()
        ahead = connection.execute(select(from_now(90.5))).scalar_one()
        behind = connection.execute(select(from_now(-3600))).scalar_one()
    assert back == east
    assert back.tzinfo is not None
    assert abs(clock - datetime.now(UTC)) < timedelta(seconds=5)
    assert timedelta(seconds=90) < ahead - clock < timedelta(seconds=92)
    assert timedelta(seconds=3590) < clock - behind < timedelta(seconds=3610)
    engine.dispose()


def test_naive_times_are_refused(database_url: str) -> None:
    engine = make_engine(database_url)
    naive = datetime(2026, 1, 1)
    with engine.connect() as connection, pytest.raises(exc.StatementError, match="no time zone"):
        connection.scalar(select(literal(naive, UtcDateTime())))
    engine.dispose()


def test_a_statement_that_takes_too_long_is_given_up(postgres_url: str) -> None:
    engine, patient = make_engine(postgres_url, answer_seconds=0.2), make_engine(postgres_url)
    for _ in range(2):  # of a connection that is used again, too
        with pytest.raises(exc.OperationalError, match="timeout"), engine.connect() as connection:
            connection.execute(text("SELECT pg_sleep(30)"))
    with patient.connect() as connection:
        connection.execute(text("SELECT pg_sleep(0.5)"))
    engine.dispose()
    patient.dispose()


def test_a_server_that_stands_still_is_given_up(
    postgres_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a statement, in a transaction under way, and by whoever comes and connects afterwards."""
    monkeypatch.setattr(postgresql, "GRACE_SECONDS", 0.1)
    engine = make_engine(postgres_url, answer_seconds=0.5)

    def ask() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT 1")).scalar_one())

    assert ask() == 1
    with engine.connect() as under_way:
        under_way.execute(text("SELECT 1"))
        with postgres_server.frozen():
            for _ in range(3):
                with pytest.raises(exc.OperationalError, match=r"answer|timeout expired"):
                    ask()
            with pytest.raises(exc.OperationalError, match="does not respond"):
                under_way.execute(text("SELECT 1"))
    engine.pool.dispose()
    wait_until(lambda: _answers(ask), "it is asked again")
    assert ask() == 1
    engine.dispose()


def _answers(ask: Callable[[], int]) -> bool:
    try:
        return ask() == 1
    except exc.OperationalError:
        return False


def test_a_database_that_is_locked_is_not_waited_for_long(sqlite_url: str) -> None:
    engine, writer = make_engine(sqlite_url, answer_seconds=0.2), make_engine(sqlite_url)
    with writer.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))
        with pytest.raises(exc.OperationalError, match="locked"), engine.begin() as waiting:
            waiting.execute(text("DELETE FROM jobs"))
    engine.dispose()
    writer.dispose()
