"""`Lease`: renews the lease on a thread and detects its loss and cancel requests.

A thread renews every third of the lease and looks every second whether the job is to be
cancelled. While the database is away it keeps trying; when the lease would have run out by our
own clock it counts as lost, because another worker may have been given the job by then.
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
"""The last: PostgreSQL has ended a transaction that stood still, because we did (`database`)."""
T = TypeVar("T")
log = structlog.get_logger(__name__)


class LeaseLost(Exception):  # noqa: N818 - says what is the case
    """The job is no longer ours; nothing more may be written about it."""


class Lease:
    """The lease of a claim; a context manager that runs the renewing thread.

    Args:
        store: renews and looks, with `lease_seconds` of its own.
        claim: what was claimed.
        alive: called after every look, also at a store that is away: that is no fault of ours.
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
        # With this thread's context: what it logs carries the job's ids.
        keep = partial(copy_context().run, self._keep)
        self._thread = threading.Thread(target=keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def is_lost(self) -> bool:
        """Whether the job is no longer ours, or may be another's by our own clock.

        Asked by who watches the engine: the renewing thread may hang in a database that neither
        answers nor breaks the connection.
        """
        if time.monotonic() - self._renewed > self._store.lease_seconds:
            self.lost.set()
        return self.lost.is_set()

    def write(self, step: Callable[[], bool]) -> None:
        """Do a guarded write, again and again while the database is away.

        Raises:
            LeaseLost: the guard refused it, or the lease ran out meanwhile.
        """
        if not self.persist(step):
            self.lost.set()
            raise LeaseLost

    def persist(self, step: Callable[[], T]) -> T:
        """Do something with the store, again and again while the database is away.

        Raises:
            LeaseLost: the lease ran out before the database came back.
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

    def _keep(self) -> None:
        pause = min(LOOK_SECONDS, self._store.lease_seconds / 6)
        while not self._over.wait(pause):
            try:
                self._look()
            except SQLAlchemyError as error:
                log.warning("the store is away", error=str(error))
            self._alive()
            if self.is_lost():
                log.warning("the lease is lost")
                return

    def _look(self) -> None:
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
