"""`RedisThread`: a thread that talks to Redis for those who must not wait for it.

What lies in Redis helps those who watch; no job, no lease and no answer may wait for it. So the
thread of whoever has something to say only queues it here, and goes on.
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
"""Most that waits while Redis is away; then the oldest is lost."""
SETTLE_SECONDS = 0.5
T = TypeVar("T")
log = structlog.get_logger(__name__)


class RedisThread:
    """Does in order what it is told, on a thread that begins with the first of it.

    What Redis did not answer is not done again: it may have been done, and be seen twice then. What
    comes while Redis is away waits.

    Args:
        redis: a client that gives up soon.
        breaker: of that Redis.
    """

    def __init__(self, redis: Redis, breaker: CircuitBreaker) -> None:
        self.redis = redis
        self._breaker = breaker
        self._changed = threading.Condition()
        self._steps: deque[Callable[[], None]] = deque(maxlen=QUEUED)
        self._busy = self._over = False
        self._thread: threading.Thread | None = None

    def tell(self, step: Callable[[Redis], object]) -> None:
        """Have it done soon. Returns at once, and never fails."""

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
        """What it returns; None if Redis is away, or takes longer than a moment."""
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
        """Whether Redis did not answer a moment ago."""
        return self._breaker.open

    def settle(self) -> None:
        """Wait for what was told so far: a moment at most, and not at all while Redis is away."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._breaker.open or not (self._steps or self._busy), SETTLE_SECONDS
            )

    def close(self) -> None:
        """Settle, and end."""
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
            # After a failure a ping finds out, so that nothing more is lost by the trial.
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
        """The next step, when it can be taken; None at the end."""
        with self._changed:
            while not self._over:
                if self._steps and not self._breaker.open:
                    self._busy = True
                    return self._steps.popleft()
                # At least a moment: what the breaker said may change between two questions.
                self._changed.wait(max(0.01, self._breaker.rest) if self._steps else None)
        return None
