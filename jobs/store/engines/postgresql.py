"""Waits for PostgreSQL that end by our own clock.

A server that is gone breaks its connections, and so, sooner or later, does a network. A server that
stands still does neither: its kernel acknowledges what we send, and libpq waits for ever. After one
such wait a circuit breaker refuses new transactions for a while (`jobs.messages.circuit_breaker`);
those in progress continue.
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
"""After the time in which the server itself gives a statement up, if it lives."""
T = TypeVar("T")


class _Silent(Exception):  # noqa: N818 - says what is the case
    """There was no answer in time."""


def bound(engine: Engine, seconds: float) -> None:
    """Have all waits of an engine for PostgreSQL end.

    Args:
        engine: none of its connections is open yet.
        seconds: for a statement; the server is told them as well, and comes first if it lives.
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
                with guard.asking():  # the first of a transaction
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
    """The generator that psycopg drives while it waits, which asks now and then what time it is."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() >= over:
                raise _Silent("the server stands still")
            state = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
