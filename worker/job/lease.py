"""`Lease`: renews the lease on a thread and detects its loss and cancel requests.

A thread renews the lease after every third of its duration and checks every second whether a
cancel was requested. It keeps trying while the database is unavailable. A lease that has expired
by this machine's clock counts as lost, because another worker may hold the job by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from tenacity import RetryError, Retrying, retry_if_exception_type, wait_exponential
from tenacity.stop import stop_when_event_set

from jobs.store.records import Claim, Renewal
from jobs.store.store import Store

LOOK_SECONDS = 1.0
AWAY = (OperationalError, InterfaceError, InternalError)
"""InternalError: PostgreSQL ended an idle transaction of this process (`jobs.store.database`)."""
T = TypeVar("T")
log = structlog.get_logger(__name__)


class LeaseLost(Exception):  # noqa: N818 - says what is the case
    """This worker no longer holds the job and must not write to it."""


class Lease:
    """The lease of a claim; a context manager that runs the renewal thread.

    Args:
        store: renews and reads the lease; defines `lease_seconds`.
        claim: the claimed job.
        alive: called after every check, even if the store did not answer.
    """

    def __init__(
        self, store: Store, claim: Claim, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._claim = claim
        self._alive = alive
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self.lost = threading.Event()
        self.cancel = threading.Event()
        # With this thread's context, so that log entries carry the job's ids.
        run = partial(copy_context().run, self._run)
        self._thread = threading.Thread(target=run, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def is_lost(self) -> bool:
        """Whether the lease is lost, or has expired by this machine's clock.

        The thread that watches the engine calls this, because the renewal thread may hang in a
        database that neither answers nor closes the connection.
        """
        if time.monotonic() - self._renewed > self._store.lease_seconds:
            self.lost.set()
        return self.lost.is_set()

    def write(self, step: Callable[[], bool]) -> None:
        """Do a guarded write; retry while the database is unavailable.

        Raises:
            LeaseLost: the guard refused the write, or the lease expired meanwhile.
        """
        if not self.persist(step):
            self.lost.set()
            raise LeaseLost

    def persist(self, step: Callable[[], T]) -> T:
        """Call `step`; retry while the database is unavailable.

        Raises:
            LeaseLost: the lease expired before the database answered.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(AWAY),
            wait=wait_exponential(0.2, max=3.0),
            stop=stop_when_event_set(self.lost),
        )
        try:
            return retrying(step)
        except RetryError as error:
            raise LeaseLost from error

    def _run(self) -> None:
        pause = min(LOOK_SECONDS, self._store.lease_seconds / 6)
        while not self._over.wait(pause):
            try:
                self._renew_or_check()
            except SQLAlchemyError as error:
                log.warning("the store is away", error=str(error))
            self._alive()
            if self.is_lost():
                log.warning("the lease is lost")
                return

    def _renew_or_check(self) -> None:
        now = time.monotonic()
        job_id, epoch = self._claim.job.id, self._claim.epoch
        due = now - self._renewed >= self._store.lease_seconds / 3
        seen: Renewal | None
        seen = self._store.renew(job_id, epoch) if due else self._store.look(job_id, epoch)
        if seen is None:
            self.lost.set()
            return
        if due:
            self._renewed = now
        if seen.cancel_requested:
            self.cancel.set()
