"""`CircuitBreaker`: remembers that a server does not answer, so that not everybody finds out anew.

While it answers everybody asks. After a failure nobody does for a while; then one does, and the
others go on without until that one has an answer. The pauses grow, for a single failure may be the
fault of a busy machine. The log says when the server went and when it is back.
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
    """The server did not answer, or failed a moment ago and was not asked."""


class CircuitBreaker:
    """Stands before one server, for all threads of a process.

    Args:
        name: of the server, for the log.
        lost: what is done without meanwhile, for the log.
        failures: what counts as no answer.
    """

    def __init__(self, name: str, lost: str, failures: tuple[type[Exception], ...]) -> None:
        self._name, self._lost, self._failures = name, lost, failures
        self._lock = threading.Lock()
        self._until: float | None = None
        self._pause = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether nobody is to ask now."""
        with self._lock:
            return self._until is not None and (self._trying or time.monotonic() < self._until)

    @property
    def tripped(self) -> bool:
        """Whether the last answer was none."""
        with self._lock:
            return self._until is not None

    @property
    def rest(self) -> float:
        """Seconds until somebody may ask again."""
        with self._lock:
            return 0.0 if self._until is None else max(0.0, self._until - time.monotonic())

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask the server within this.

        Raises:
            ServerUnavailable: it is not to be asked now, or one of the failures was raised.
        """
        if not self._admitted():
            raise ServerUnavailable(f"{self._name} did not answer a moment ago")
        try:
            yield
        except self._failures as error:
            self._failed(error)
            raise ServerUnavailable(f"{self._name}: {error or type(error).__name__}") from error
        except BaseException:  # who asked was stopped, or is at fault: nothing was found out
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
            if self._until is None or now >= self._until:  # else it was asked before it went
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
