"""SQLite for several threads and processes, with a fair queue of writers.

SQLite has one write lock per file without a queue: a waiting writer sleeps up to 100 ms and tries
again, so under constant load some writers starve. Here the threads of a process queue, and only the
first of them polls the lock, often enough to get it between two transactions of another process.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

LOOK_SECONDS = 0.002
"""Polling interval for a lock held by another process; shorter than a commit."""
KEPT = 16
"""Connections kept open. Their number is not limited, because waiting writers hold one each and
must not block readers."""
WRITE = "BEGIN IMMEDIATE"
LOCKED = "database is locked"  # SQLite's message
IN_MEMORY = (None, "", ":memory:")  # one connection per thread, by SQLAlchemy


class Turns:
    """A lock with a first-in, first-out queue."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """Number of waiting threads."""
        with self._lock:
            return len(self._waiting)

    def take(self, seconds: float) -> bool:
        """Acquire the lock; False after a timeout."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            return mine.acquire(timeout=seconds) or not self._left(mine)
        except BaseException:  # raised by a signal handler
            if not self._left(mine):
                self.give()
            raise

    def give(self) -> None:
        """Release the lock to the next waiting thread."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _left(self, mine: threading.Lock) -> bool:
        """Leave the queue; False if the lock was acquired meanwhile."""
        with self._lock:
            if mine not in self._waiting:
                return False
            self._waiting.remove(mine)
            return True


class Queued(sqlite3.Connection):
    """A connection whose write transactions hold the lock `turns` from `begin_write` to their end.

    `turns` and `seconds` are set after construction.
    """

    turns: Turns
    seconds: float
    _has_turn = False

    def begin_write(self) -> None:
        """Begin a write transaction.

        Raises:
            sqlite3.OperationalError: the lock was not free within `seconds`.
        """
        over = time.monotonic() + self.seconds
        if not self.turns.take(self.seconds):
            raise sqlite3.OperationalError(LOCKED)
        self._has_turn = True
        try:
            self._lock_database(over)
        except BaseException:
            self._give_turn()
            raise

    def commit(self) -> None:
        """Commit; roll back if that fails, as PostgreSQL does."""
        try:
            super().commit()
        except BaseException:
            self.rollback()
            raise
        self._give_turn()

    def rollback(self) -> None:
        """Roll back."""
        try:
            super().rollback()
        finally:
            self._give_turn()

    def close(self) -> None:
        """Close; an open transaction is rolled back."""
        try:
            super().close()
        finally:
            self._give_turn()

    def _lock_database(self, over: float) -> None:
        self.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    self.execute(WRITE)
                    return
                except sqlite3.OperationalError as error:
                    busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                    if not busy or time.monotonic() >= over:
                        raise
                time.sleep(LOOK_SECONDS)
        finally:
            self.execute(f"PRAGMA busy_timeout = {round(self.seconds * 1000)}")

    def _give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.turns.give()


def make_sqlite_engine(url: URL, seconds: float) -> Engine:
    """An engine with write-ahead logging, foreign keys, and a queue of writers.

    Args:
        url: of a file or an in-memory database.
        seconds: time limit for the write lock.
    """
    turns = Turns()
    sizes = {"pool_size": KEPT, "max_overflow": -1} if url.database not in IN_MEMORY else {}
    engine = create_engine(url, connect_args={"timeout": seconds, "factory": Queued}, **sizes)

    @event.listens_for(engine, "connect")
    def prepare(connection: Queued, _record: Any) -> None:
        connection.turns, connection.seconds = turns, seconds
        connection.isolation_level = None  # BEGIN is sent explicitly, not by the driver
        connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL, often recommended with WAL, may lose the last commits on power failure, and so a
        # job that was answered with 202. FULL costs one or two milliseconds per commit.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", WRITE)
    if begin != WRITE:
        connection.exec_driver_sql(begin)
        return
    driver = cast(Queued, connection.connection.driver_connection)
    try:
        driver.begin_write()
    except sqlite3.Error as error:
        raise DBAPIError.instance(WRITE, None, error, sqlite3.Error) from error
