"""How many answers that go on for long may be open at once: of an owner, and of this process.

Each holds a connection, and with it a descriptor, for as long as its client likes.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.http.problems import Problem

RESERVED_DESCRIPTORS = 256
"""For all else that a process opens: the database, Redis, files, requests that are short."""
FEWEST = 8


class OpenAnswers:
    """Counts those of one kind; of the event loop alone.

    Args:
        kind: `streams` or `downloads`, also in the problem `too-many-KIND`.
        most: in this process; fewer where it may not open as many descriptors.
        per_owner: of one owner; None: owners are not told apart.
    """

    def __init__(self, kind: str, most: int, per_owner: int | None) -> None:
        self._kind, self._per_owner = kind, per_owner
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = most if soft == resource.RLIM_INFINITY else soft - RESERVED_DESCRIPTORS
        self._most = min(most, max(FEWEST, room))
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, owner: str) -> Iterator[None]:
        """Count one for as long as this lasts.

        Raises:
            Problem: 429, the owner has as many as they may; 503, this process has.
        """
        if self._per_owner is not None and self._open[owner] >= self._per_owner:
            detail = f"{owner} has {self._per_owner} {self._kind} open here already"
            raise Problem(f"too-many-{self._kind}", detail)
        if self._open.total() >= self._most:
            detail = f"this process has {self._most} {self._kind} open already"
            raise Problem("unavailable", detail)
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
