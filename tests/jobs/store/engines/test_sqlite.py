"""Who writes to SQLite has a turn, in the order in which they came; it ends however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import pytest
from sqlalchemy import Connection, Engine, exc, text

from jobs.store.database import READ_ONLY, make_engine
from jobs.store.engines.sqlite import LOCKED, Queued, Turns
from tests.servers import wait_until

MANY = 8
CHANGE = text("DELETE FROM jobs")
COUNTING = """
import sys, threading
from sqlalchemy import text
from jobs.store.database import make_engine

engine = make_engine(sys.argv[1])

def count():
    for _ in range(20):
        with engine.begin() as connection:
            now = connection.scalar(text("SELECT n FROM counted"))
            connection.execute(text("UPDATE counted SET n = :n"), {"n": now + 1})

threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture
def hasty(sqlite_url: str) -> Iterator[Engine]:
    """Waits a moment only."""
    made = make_engine(sqlite_url, answer_seconds=0.2)
    yield made
    made.dispose()


def driver(connection: Connection) -> Queued:
    return cast(Queued, connection.connection.driver_connection)


def in_a_thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def write(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(CHANGE)


def test_writers_enter_in_the_order_in_which_they_came(engine: Engine) -> None:
    entered: list[int] = []
    threads: list[threading.Thread] = []

    def enter(number: int) -> None:
        with engine.begin() as connection:
            entered.append(number)
            connection.execute(CHANGE)

    with engine.begin() as first:
        turns = driver(first).turns
        for number in range(MANY):
            threads.append(in_a_thread(partial(enter, number)))
            wait_until(lambda: turns.waiting == len(threads), "it waits")
        assert entered == []
        with engine.execution_options(**READ_ONLY).connect() as reader:  # while all of them wait
            assert reader.scalar(text("SELECT count(*) FROM jobs")) == 0
    for thread in threads:
        thread.join()
    assert entered == list(range(MANY))


def commit(connection: Connection) -> None:
    connection.execute(CHANGE)
    connection.commit()


def roll_back(connection: Connection) -> None:
    connection.execute(CHANGE)
    connection.rollback()


def fail(connection: Connection) -> None:
    with pytest.raises(exc.OperationalError, match="no such table"):
        connection.execute(text("DELETE FROM no_table"))


def lose(connection: Connection) -> None:
    connection.execute(CHANGE)
    connection.invalidate()


def break_at_the_commit(connection: Connection) -> None:
    """A row that may not stay, as SQLite finds when all is over."""
    connection.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
    refers = "REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED"
    connection.execute(text(f"CREATE TABLE children (parent INTEGER {refers})"))
    connection.execute(text("INSERT INTO children VALUES (1)"))
    with pytest.raises(exc.IntegrityError):
        connection.commit()


@pytest.mark.parametrize("ends", [commit, roll_back, fail, lose, break_at_the_commit])
def test_a_turn_ends_with_its_transaction(hasty: Engine, ends: Callable[..., None]) -> None:
    with hasty.connect() as connection:
        ends(connection)
    write(hasty)


def test_who_has_waited_too_long_leaves_the_queue(hasty: Engine) -> None:
    with hasty.begin() as first:
        with pytest.raises(exc.OperationalError, match=LOCKED):
            write(hasty)
        assert driver(first).turns.waiting == 0
    write(hasty)


def test_a_lock_of_another_process_costs_no_turn(engine: Engine, hasty: Engine) -> None:
    with engine.begin() as elsewhere:
        elsewhere.execute(CHANGE)
        for _ in range(2):
            with pytest.raises(exc.OperationalError, match=LOCKED):
                write(hasty)
    write(hasty)
    with hasty.connect() as connection:  # what is no lock waits as before
        assert connection.scalar(text("PRAGMA busy_timeout")) == 200


def test_processes_that_write_all_the_while_let_each_other_write(
    engine: Engine, sqlite_url: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counted (n INTEGER)"))
        connection.execute(text("INSERT INTO counted VALUES (0)"))
    command = [sys.executable, "-c", COUNTING, sqlite_url]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT n FROM counted")) == 2 * 4 * 20


def test_a_signal_that_ends_a_wait_leaves_the_queue() -> None:
    turns = Turns()
    assert turns.take(1)

    def interrupt() -> None:
        wait_until(lambda: turns.waiting, "it waits")
        os.kill(os.getpid(), signal.SIGUSR1)

    def told(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, told)
    try:
        thread = in_a_thread(interrupt)
        with pytest.raises(InterruptedError):
            turns.take(60)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert turns.waiting == 0
    turns.give()
    assert turns.take(0.1)
