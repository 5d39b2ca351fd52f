"""`Reaper`: requeues jobs with expired leases and resends lost messages
(`python -m worker.housekeeping.reaper`, or a thread).

Jobs whose worker fell silent go back to the queue; queued jobs whose message was never sent,
or was lost with the broker, are sent again. Any number of reapers may run: each repair is one
guarded statement, and a message too many does no harm.
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
from jobs.store.store import Reaped, Store
from worker.housekeeping.loop import Loop
from worker.housekeeping.metrics import REGISTRY, lease_expiries, resent
from worker.housekeeping.retention import RetentionSweep
from worker.housekeeping.webhook_sender import make_senders

NEVER_SENT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
log = structlog.get_logger(__name__)


class Reaper(Loop):
    """Looks every `settings.reap_seconds`.

    Args:
        settings: pauses and deadlines.
        store: where leases expire.
        queue: where messages are sent again.
    """

    def __init__(self, settings: Settings, store: Store, queue: Queue) -> None:
        super().__init__("reaper", settings.reap_seconds)
        self._settings = settings
        self._store = store
        self._queue = queue

    def look(self) -> list[Reaped]:
        """Repair once. Returns the jobs that were taken from silent workers.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is away.
            QueueUnavailable: the broker is away; leases have been seen to all the same.
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
        """Jobs in place of whose messages others are to be sent; which ones does not matter.

        Most that have waited long only wait their turn: messages are missing when there are fewer
        than jobs that wait for one. They are counted first: what a worker takes meanwhile must not
        look like a loss.
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
        """Store or broker are away."""
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
    except ValueError as error:  # a place of artifacts that is none
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
