"""`CircuitBreaker`: stops calls to a server that does not answer.

After a failure no call is made for a pause; then one trial call is made while all others still
fail fast. The pause doubles with every failed trial, up to a limit. The log says when the server
became unavailable and when it answers again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
log = structlog.get_logger(__name__)


class ServerUnavailable(Exception):  # noqa: N818 - says what is the case
    """The server did not answer, or the circuit is open."""


class CircuitBreaker:
    """The circuit breaker of one server, shared by all threads of a process.

    Args:
        name: of the server, for the log.
        lost: the consequence of an outage, for the log.
        failures: exceptions that count as an outage.
    """

    def __init__(self, name: str, lost: str, failures: tuple[type[Exception], ...]) -> None:
        self._name, self._lost, self._failures = name, lost, failures
        self._lock = threading.Lock()
        self._until: float | None = None
        self._pause = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether calls fail fast now."""
        with self._lock:
            return self._until is not None and (self._trying or time.monotonic() < self._until)

    @property
    def tripped(self) -> bool:
        """Whether the last call failed."""
        with self._lock:
            return self._until is not None

    @property
    def rest(self) -> float:
        """Seconds until the next trial call."""
        with self._lock:
            return 0.0 if self._until is None else max(0.0, self._until - time.monotonic())

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Context for a call to the server.

        Raises:
            ServerUnavailable: the circuit is open, or the call raised one of `failures`.
        """
        if not self._admitted():
            raise ServerUnavailable(f"{self._name} did not answer a moment ago")
        try:
            yield
        except self._failures as error:
            self._failed(error)
            raise ServerUnavailable(f"{self._name}: {error or type(error).__name__}") from error
        except BaseException:  # cancelled, or a defect of the caller: says nothing about the server
            with self._lock:
                self._trying = False
            raise
        self._answered()

    def _admitted(self) -> bool:
        with self._lock:
            if self._until is None:
                return True
            if self._trying or time.monotonic() < self._until:
                return False
            self._trying = True
            return True

    def _failed(self, error: Exception) -> None:
        with self._lock:
            news, self._trying = self._until is None, False
            now = time.monotonic()
            if self._until is None or now >= self._until:  # else the call began before the outage
                self._pause = min(max(PAUSE_SECONDS, 2 * self._pause), LONGEST_PAUSE_SECONDS)
                self._until = now + self._pause
        if news:
            reason = f"{type(error).__name__}: {error}"
            log.warning(f"{self._name} does not answer; {self._lost}", reason=reason)

    def _answered(self) -> None:
        with self._lock:
            news, self._trying = self._until is not None, False
            self._until, self._pause = None, 0.0
        if news:
            log.info(f"{self._name} answers again")
