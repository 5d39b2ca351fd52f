"""`Reaper`: requeues jobs with expired leases and resends lost messages
(`python -m worker.housekeeping.reaper`, or a thread).

Jobs of lost workers are queued again. Messages that were never sent, or were lost with the broker,
are sent again. Any number of reapers may run: each repair is one guarded statement, and a duplicate
message does no harm.
"""

from __future__ import annotations

import signal
import sys

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs.logs import structured
from jobs.messages.queue import Queue, QueueUnavailable
from jobs.metrics.exposition import serve
from jobs.settings import BadSettings, Settings, load
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.records import Reaped
from jobs.store.store import Store
from worker.housekeeping.loop import Loop
from worker.housekeeping.metrics import REGISTRY, lease_expiries, resent
from worker.housekeeping.retention import RetentionSweep
from worker.housekeeping.webhook_sender import make_senders

NEVER_SENT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
log = structlog.get_logger(__name__)


class Reaper(Loop):
    """Runs every `settings.reap_seconds`.

    Args:
        settings: intervals and deadlines.
        store: holds the leases.
        queue: receives the messages.
    """

    def __init__(self, settings: Settings, store: Store, queue: Queue) -> None:
        super().__init__("reaper", settings.reap_seconds)
        self._settings = settings
        self._store = store
        self._queue = queue

    def look(self) -> list[Reaped]:
        """Repair once. Returns the jobs that were taken from lost workers.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is unavailable.
            QueueUnavailable: the broker is unavailable; leases have been repaired.
        """
        reaped = self._store.reap()
        for job in reaped:
            log.warning("worker lost", job=job.id, attempt=job.attempt, status=str(job.status))
            lease_expiries.labels(str(job.status)).inc()
        back = [job.id for job in reaped if job.status is Status.QUEUED]
        self._send(back + self._store.undispatched(NEVER_SENT_SECONDS))
        self._send(self._lost())
        return reaped

    def _lost(self) -> list[str]:
        """Jobs to send messages for, because messages are missing; which jobs does not matter.

        Messages are missing if there are fewer than queued jobs whose message was sent. Messages
        are counted before jobs: one that a worker takes in between must not look lost.
        """
        there = self._queue.waiting()
        missing = self._store.awaited() - there
        if missing <= 0:
            return []
        return self._store.unanswered(self._settings.redispatch_seconds, missing)

    def _send(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            self._queue.publish(job_id)
            self._store.dispatched(job_id)
            log.info("sent again", job=job_id)
            resent.inc()

    def expected(self) -> tuple[type[Exception], ...]:
        """The store or the broker is unavailable."""
        return (SQLAlchemyError, QueueUnavailable)


def main() -> None:
    """Run until TERM or INT."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in every thread; `sigwait` takes them
    try:
        settings = load()
    except BadSettings as error:
        sys.exit(str(error))
    structured.configure_for(settings)
    url = settings.database_url.get_secret_value()
    engine = make_engine(url, answer_seconds=ANSWER_SECONDS)
    queue = Queue(settings.redis_url.get_secret_value())
    store = Store(engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts)
    try:
        tidying = RetentionSweep.of(settings, store)
    except ValueError as error:  # an invalid SLIMGPT_ARTIFACTS_URL
        sys.exit(str(error))
    loops: list[Loop] = [Reaper(settings, store, queue), tidying, *make_senders(settings, engine)]
    for loop in loops:
        loop.start()
    serve(settings, REGISTRY)
    signal.sigwait(ends)
    for loop in loops:
        loop.stop()
    queue.close()
    engine.dispose()


if __name__ == "__main__":
    main()
