"""Client-side time limits for PostgreSQL.

A stopped server or a broken network closes connections. A server that hangs does not: its kernel
acknowledges packets, and libpq waits for ever. After a timeout, a circuit breaker refuses new
transactions for a while (`jobs.messages.circuit_breaker`); transactions in progress continue.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from jobs.messages.circuit_breaker import CircuitBreaker, ServerUnavailable

GRACE_SECONDS = 1.0
"""Added to the server's own statement timeout, which comes first if the server works."""
T = TypeVar("T")


class _Silent(Exception):  # noqa: N818 - says what is the case
    """The server did not respond in time."""


def bound(engine: Engine, seconds: float) -> None:
    """Set a client-side time limit for all statements and connections of an engine.

    Args:
        engine: has no open connections.
        seconds: statement timeout, also set on the server.
    """
    failures = (_Silent, psycopg.errors.ConnectionTimeout)
    guard = CircuitBreaker("the database", "what needs it is refused", failures)

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, T], *given: Any, **named: Any) -> T:
            over = time.monotonic() + seconds + GRACE_SECONDS
            waited = _until(gen, over)
            try:
                if self.pgconn.transaction_status != TransactionStatus.IDLE:
                    return super().wait(waited, *given, **named)
                with guard.asking():  # the first statement of a transaction
                    return super().wait(waited, *given, **named)
            except (_Silent, ServerUnavailable) as error:
                self.close()
                raise psycopg.OperationalError(f"no answer in {seconds:g} s: {error}") from error

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, given: Any, named: Any) -> Any:
        try:
            with guard.asking():
                return Bounded.connect(*given, **named)
        except ServerUnavailable as error:
            raise psycopg.OperationalError(str(error)) from error


def _until(gen: Generator[Any, Any, T], over: float) -> Generator[Any, Any, T]:
    """psycopg's generator of a wait, which raises `_Silent` after a deadline."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() >= over:
                raise _Silent("the server does not respond")
            state = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
