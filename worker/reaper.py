"""`Reaper`: repairs what crashes leave behind. `python -m worker.reaper`, or a thread.

Jobs whose worker fell silent go back to the queue; queued jobs whose message was never sent,
or was lost with the broker, are sent again. Any number of reapers may run: each repair is one
guarded statement, and a message sent twice does no harm.
"""

from __future__ import annotations

import signal
import sys
import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs import logs
from jobs.database import make_engine
from jobs.queue import Queue, QueueUnavailable
from jobs.settings import BadSettings, Settings, load
from jobs.states import Status
from jobs.store import Reaped, Store

NEVER_SENT_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Reaper:
    """Looks every `settings.reap_seconds`.

    Args:
        settings: pauses and deadlines.
        store: where leases expire.
        queue: where messages are sent again.
    """

    def __init__(self, settings: Settings, store: Store, queue: Queue) -> None:
        self._settings = settings
        self._store = store
        self._queue = queue
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> list[Reaped]:
        """Repair once. Returns the jobs that were taken from silent workers.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is away.
            QueueUnavailable: the broker is away; leases have been seen to all the same.
        """
        reaped = self._store.reap()
        for job in reaped:
            log.warning("worker lost", job=job.id, attempt=job.attempt, status=str(job.status))
        lost_after = self._settings.redispatch_seconds
        back = [job.id for job in reaped if job.status is Status.QUEUED]
        for job_id in back + self._store.undispatched(NEVER_SENT_SECONDS, lost_after):
            self._queue.publish(job_id)
            self._store.dispatched(job_id)
            log.info("sent again", job=job_id)
        return reaped

    def run(self) -> None:
        """Look again and again until `stop`."""
        while not self._over.is_set():
            try:
                self.look()
            except (SQLAlchemyError, QueueUnavailable) as error:
                log.warning("the reaper will try again", error=str(error))
            except Exception:
                # A process that lives on without this loop would repair nothing, unnoticed.
                log.exception("the reaper will try again")
            self._over.wait(self._settings.reap_seconds)

    def start(self) -> None:
        """Run on a thread."""
        self._thread = threading.Thread(target=self.run, name="reaper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop and wait for it."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()


def main() -> None:
    """Run until TERM or INT."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in every thread; `sigwait` takes them
    try:
        settings = load()
    except BadSettings as error:
        sys.exit(str(error))
    logs.configure(settings.log_level, as_json=settings.log_json)
    engine = make_engine(settings.database_url.get_secret_value())
    queue = Queue(settings.redis_url.get_secret_value())
    store = Store(engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts)
    reaper = Reaper(settings, store, queue)
    reaper.start()
    signal.sigwait(ends)
    reaper.stop()
    queue.close()
    engine.dispose()


if __name__ == "__main__":
    main()
