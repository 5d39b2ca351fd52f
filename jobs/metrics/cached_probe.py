"""`CachedProbe`: the last result of a check that may be slow, hang or fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import structlog

KEEP_SECONDS = 5.0
WAIT_SECONDS = 0.8
LATE_SECONDS = 15.0
T = TypeVar("T")
log = structlog.get_logger(__name__)


class CachedProbe(Generic[T]):
    """Asks at most once in a while, one question at a time, and never waits long.

    Args:
        name: of what is asked, for the log.
        ask: may take long, or raise anything.
        keep: seconds for which an answer is good. One that came too late to be waited for is good
            for the next who asks, in any case: what is slow and well must not seem to be away.
        wait: seconds for which `take` waits for one.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[], T],
        *,
        keep: float = KEEP_SECONDS,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self._name, self._ask, self._keep, self._wait = name, ask, keep, wait
        self._lock = threading.Lock()
        self._running: Future[T] | None = None
        self._known: tuple[float, T] | None = None
        """Until when it is good, and the answer."""
        self._late = False

    def start(self) -> Future[T]:
        """The fresh answer, or the open question; else begin to ask. Waits for nothing."""
        with self._lock:
            known = self._fresh()
            if known is None:
                return self._open()
            if self._late:
                self._known, self._late = None, False
        answered: Future[T] = Future()
        answered.set_result(known[0])
        return answered

    def take(self, wait: float | None = None) -> T | None:
        """The answer; None if there is none in time. A late one is good for the next call.

        Args:
            wait: seconds, in place of the probe's own.
        """
        question = self.start()
        try:
            return question.result(self._wait if wait is None else max(0.0, wait))
        except Exception as error:  # whatever it is, there is no answer
            log.warning("no answer", asked=self._name, error=type(error).__name__)
            return None

    def _open(self) -> Future[T]:
        """The open question, or a new one; the lock is held."""
        if self._running is None:
            self._running = Future()
            # A thread of its own each time, which dies with the process: a pool's would keep a
            # process that wants to end waiting for a database that is silent.
            answer = threading.Thread(target=self._answer, args=(self._running,), daemon=True)
            answer.start()
        return self._running

    def _answer(self, future: Future[T]) -> None:
        began = time.monotonic()
        try:
            value = self._ask()
        except Exception as error:
            with self._lock:
                self._running = None
            future.set_exception(error)
            return
        now = time.monotonic()
        with self._lock:
            self._late = self._keep < LATE_SECONDS and now - began > self._wait
            good = LATE_SECONDS if self._late else self._keep
            self._known, self._running = (now + good, value), None
        future.set_result(value)

    def _fresh(self) -> tuple[T] | None:
        if self._known is None or time.monotonic() >= self._known[0]:
            return None
        return (self._known[1],)
