"""`RedisThread`: sends commands to Redis on its own thread, so that callers do not wait.

Data in Redis is for observers only; no job, lease or response may wait for it. Callers queue their
commands here and continue.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import structlog
from redis import Redis

from jobs.messages.circuit_breaker import CircuitBreaker, ServerUnavailable

QUEUED = 500
"""Most commands that wait while Redis is unavailable; then the oldest are dropped."""
SETTLE_SECONDS = 0.5
T = TypeVar("T")
log = structlog.get_logger(__name__)


class RedisThread:
    """Runs commands in order, on a thread that starts with the first one.

    A command without an answer is not repeated, because it may have been executed. Commands wait
    while Redis is unavailable.

    Args:
        redis: a client with short timeouts.
        breaker: the circuit breaker of Redis.
    """

    def __init__(self, redis: Redis, breaker: CircuitBreaker) -> None:
        self.redis = redis
        self._breaker = breaker
        self._changed = threading.Condition()
        self._steps: deque[Callable[[], None]] = deque(maxlen=QUEUED)
        self._busy = self._over = False
        self._thread: threading.Thread | None = None

    def tell(self, step: Callable[[Redis], object]) -> None:
        """Queue a command. Returns at once, and never fails."""

        def do() -> None:
            try:
                with self._breaker.asking():
                    step(self.redis)
            except ServerUnavailable:
                pass
            except Exception:  # a defect must not end the thread
                log.exception("a hint could not be given")

        self._queue(do)

    def ask(self, step: Callable[[Redis], T]) -> T | None:
        """The result of a command; None if Redis is unavailable or takes too long."""
        answer: Future[T | None] = Future()
        if self._breaker.open:
            return None

        def do() -> None:
            try:
                with self._breaker.asking():
                    answer.set_result(step(self.redis))
            except Exception:
                answer.set_result(None)

        self._queue(do)
        try:
            return answer.result(SETTLE_SECONDS)
        except TimeoutError:
            return None

    @property
    def away(self) -> bool:
        """Whether Redis is unavailable."""
        return self._breaker.open

    def settle(self) -> None:
        """Wait at most `SETTLE_SECONDS` for the queued commands; not while Redis is unavailable."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._breaker.open or not (self._steps or self._busy), SETTLE_SECONDS
            )

    def close(self) -> None:
        """Settle, and end the thread."""
        self.settle()
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._thread is None or not self._thread.is_alive():
            self.redis.close()

    def _queue(self, step: Callable[[], None]) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hints", daemon=True)
                self._thread.start()
            self._steps.append(step)
            self._changed.notify_all()

    def _work(self) -> None:
        while (step := self._next()) is not None:
            # After a failure the trial call is a ping, so that no further command is lost.
            if self._breaker.tripped and not self._pinged():
                with self._changed:
                    self._steps.appendleft(step)
                    self._busy = False
                continue
            step()
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        self.redis.close()

    def _pinged(self) -> bool:
        try:
            with self._breaker.asking():
                self.redis.ping()
        except ServerUnavailable:
            return False
        return True

    def _next(self) -> Callable[[], None] | None:
        """The next command, when it can be sent; None at the end."""
        with self._changed:
            while not self._over:
                if self._steps and not self._breaker.open:
                    self._busy = True
                    return self._steps.popleft()
                # A minimum, because the breaker may change between the two calls.
                self._changed.wait(max(0.01, self._breaker.rest) if self._steps else None)
        return None
