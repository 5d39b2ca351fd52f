"""Places that all owners share, of which no single owner takes all.

Work that takes long, for whatever reason, holds a place. Without a share of one's own, whoever has
a few requests of that kind under way would refuse everybody else's.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.problems import Problem

RETRY = {"Retry-After": "2"}


class OwnerShares:
    """So many places in one process.

    Args:
        what: what a place is for, in the plural: "plans".
        places: of all owners together.
        share: of one owner, fewer than `places`.
        kind: of the problem that an owner beyond their share is told.
    """

    def __init__(self, what: str, places: int, share: int, kind: str) -> None:
        self._what, self._places, self._share, self._kind = what, places, share, kind
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, owner: str, *, alone: bool) -> Iterator[None]:
        """Hold a place; nobody waits for one.

        Args:
            alone: whether there is no other owner: then all places are theirs.

        Raises:
            Problem: 429, the owner holds as many as they may; 503, all are held.
        """
        self._take(owner, alone)
        try:
            yield
        finally:
            with self._lock:
                self._held[owner] -= 1
                self._held += Counter()  # forgets those who hold none

    def _take(self, owner: str, alone: bool) -> None:
        with self._lock:
            if not alone and self._held[owner] >= self._share:
                detail = f"{owner} has {self._held[owner]} {self._what} under way already"
                raise Problem(self._kind, detail, headers=RETRY)
            if self._held.total() >= self._places:
                detail = f"{self._places} {self._what} are under way already"
                raise Problem("unavailable", detail, headers=RETRY)
            self._held[owner] += 1
