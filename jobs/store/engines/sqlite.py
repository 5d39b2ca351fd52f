"""SQLite for several threads and processes: connections whose writers take turns.

SQLite has one write lock a file, and no queue before it: who finds it taken sleeps up to 100 ms
and looks again, so that of many who write all the while some hardly ever find it free. Here the
threads of a process queue, and the first of them alone looks for the lock, often enough to find it
free between two transactions of another process.
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
"""Between two looks for a lock that another process holds: less than a commit takes."""
KEPT = 16
"""Connections that are kept open. As many as there are threads may be open: who waits for their
turn has one, and must not keep those who read from theirs."""
WRITE = "BEGIN IMMEDIATE"
LOCKED = "database is locked"  # as SQLite says it
IN_MEMORY = (None, "", ":memory:")  # one connection a thread, as SQLAlchemy has it


class Turns:
    """A lock that its waiters get in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        with self._lock:
            return len(self._waiting)

    def take(self, seconds: float) -> bool:
        """Wait for one's turn; False: it did not come in time."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            return mine.acquire(timeout=seconds) or not self._left(mine)
        except BaseException:  # of a signal's handler
            if not self._left(mine):
                self.give()
            raise

    def give(self) -> None:
        """End one's turn; the next begins at once."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

    def _left(self, mine: threading.Lock) -> bool:
        """Leave the queue; False: the turn has come after all."""
        with self._lock:
            if mine not in self._waiting:
                return False
            self._waiting.remove(mine)
            return True


class Queued(sqlite3.Connection):
    """A connection whose transactions that write have their turn, from `begin_write` to their end.

    `turns` and `seconds` are set when it has been made.
    """

    turns: Turns
    seconds: float
    _has_turn = False

    def begin_write(self) -> None:
        """Begin a transaction that writes.

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
        """Commit, or roll back where that fails, as PostgreSQL does."""
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
        """Close, which rolls back."""
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
    """An engine with write-ahead logging, foreign keys, and writers that take turns.

    Args:
        url: of a file, or of memory.
        seconds: longest wait for the write lock.
    """
    turns = Turns()
    sizes = {"pool_size": KEPT, "max_overflow": -1} if url.database not in IN_MEMORY else {}
    engine = create_engine(url, connect_args={"timeout": seconds, "factory": Queued}, **sizes)

    @event.listens_for(engine, "connect")
    def prepare(connection: Queued, _record: Any) -> None:
        connection.turns, connection.seconds = turns, seconds
        connection.isolation_level = None  # we say BEGIN ourselves; the driver must not
        connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL, which many advise with WAL, may lose the last commits with the power supply: a
        # job that was answered 202 would be gone. It costs a millisecond or two a commit.
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
