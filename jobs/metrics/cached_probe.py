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
    """Runs a check at most once per `keep` seconds, one at a time, with a bounded wait.

    Args:
        name: name of the check, for the log.
        ask: the check; may take long, or raise any exception.
        keep: seconds for which a result is valid. A result that arrives after `wait` is valid for
            the next call in any case, so that a slow but healthy service does not appear down.
        wait: seconds for which `take` waits.
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
        """Expiry time and result."""
        self._late = False

    def start(self) -> Future[T]:
        """The valid result or the running check, else start a check. Does not wait."""
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
        """The result, or None if it does not arrive in time; a late one serves the next call.

        Args:
            wait: seconds; None: the probe's own `wait`.
        """
        question = self.start()
        try:
            return question.result(self._wait if wait is None else max(0.0, wait))
        except Exception as error:  # any error means that there is no result
            log.warning("no answer", asked=self._name, error=type(error).__name__)
            return None

    def _open(self) -> Future[T]:
        """The running check, or a new one; the caller holds the lock."""
        if self._running is None:
            self._running = Future()
            # A daemon thread per check: a pool's threads would keep the process from exiting while
            # a database does not answer.
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
