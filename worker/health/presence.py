"""`Presence`: announces this worker in the registry, on a thread of the child process.

The child runs jobs and may keep connections; what it tells is when the worker was last heard by its
heartbeat, which the parent's polls of the broker and the lease of a job update.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import structlog
from redis import Redis
from redis.exceptions import RedisError

from jobs.messages.workers import WorkerFacts, announce, leave
from worker.health.heartbeat import Heartbeat

ANNOUNCE_SECONDS = 3.0
ANSWER_SECONDS = 2.0
log = structlog.get_logger(__name__)


class Presence:
    """One worker's entry in the registry.

    Args:
        redis_url: of the registry.
        facts: of this worker; its device and job are filled in.
        device: describes the device; called once, on the thread.
        heart: the worker's heartbeat.
        job: returns the job that the worker holds.
    """

    def __init__(
        self,
        redis_url: str,
        facts: WorkerFacts,
        device: Callable[[], str],
        heart: Heartbeat,
        job: Callable[[], str | None],
    ) -> None:
        self._url, self._facts, self._device = redis_url, facts, device
        self._heart, self._job = heart, job

    def start(self) -> None:
        """Announce the worker now and every few seconds, until the process ends."""
        threading.Thread(target=self._run, name="presence", daemon=True).start()

    def leave(self) -> None:
        """Remove the entry on a planned end; from any process."""
        with suppress(RedisError), self._redis() as redis:
            leave(redis, self._facts.id)

    def tell(self, redis: Redis) -> None:
        """Announce the worker once.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        silent = self._heart.seconds()
        facts = replace(self._facts, job=self._job())
        announce(redis, facts, 0.0 if silent is None else silent)

    def _run(self) -> None:
        self._facts = replace(self._facts, device=self._device())
        with self._redis() as redis:
            while True:
                try:
                    self.tell(redis)
                except RedisError as error:
                    log.debug("the worker is not announced", reason=str(error))
                except Exception:  # a defect must not end the thread
                    log.exception("the worker is not announced")
                time.sleep(ANNOUNCE_SECONDS)

    def _redis(self) -> Redis:
        return Redis.from_url(
            self._url,
            decode_responses=True,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
        )
