"""`ConcurrencyLimit`: bounds the requests of one kind in progress, per owner and per process.

Without a limit per owner, one owner's slow requests would make the API refuse everybody else's.
"""

from __future__ import annotations

import resource
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.problems import Problem

RESERVED_DESCRIPTORS = 256
"""File descriptors left for the database, Redis, files and short requests."""
FEWEST = 8


class ConcurrencyLimit:
    """Counts the requests of one kind that this process handles.

    Args:
        what: the requests, in the plural: "plans".
        most: limit of this process.
        per_owner: limit of one owner; None: owners are not distinguished.
        kind: kind of the problem for an owner at their limit.
    """

    def __init__(self, what: str, most: int, per_owner: int | None, kind: str) -> None:
        self._what, self._most, self._per_owner, self._kind = what, most, per_owner, kind
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, owner: str, *, alone: bool = False) -> Iterator[None]:
        """Count one request while the context lasts; never waits.

        Args:
            alone: the service has only one owner, whose limit is that of the process.

        Raises:
            Problem: 429, the owner is at their limit; 503, the process is.
        """
        self._take(owner, None if alone else self._per_owner)
        try:
            yield
        finally:
            with self._lock:
                self._held[owner] -= 1
                self._held += Counter()  # drops owners with no requests

    def _take(self, owner: str, per_owner: int | None) -> None:
        with self._lock:
            if per_owner is not None and self._held[owner] >= per_owner:
                detail = f"{owner} already has {per_owner} {self._what} in progress"
                raise Problem(self._kind, detail)
            if self._held.total() >= self._most:
                detail = f"{self._most} {self._what} are already in progress in this process"
                raise Problem("unavailable", detail)
            self._held[owner] += 1


def within_descriptors(most: int) -> int:
    """`most`, or fewer where the process cannot open as many file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        most
        if soft == resource.RLIM_INFINITY
        else min(most, max(FEWEST, soft - RESERVED_DESCRIPTORS))
    )
