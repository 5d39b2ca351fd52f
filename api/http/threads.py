"""ThreadPool of their own for what may hang: those who wait for one server hold up no others.

FastAPI runs what is not `async` on one set of threads. Here that set is the database's: whatever
needs no database must not need it. The place of artifacts, the broker and metrics have their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

T = TypeVar("T")
Given = TypeVarTuple("Given")


class ThreadPool:
    """So many threads of a process; who comes when all are busy waits, and holds none.

    Args:
        name: what they wait for.
        at_once: how many there are.
    """

    def __init__(self, name: str, at_once: int) -> None:
        self._at_once = at_once
        self._limiter: RunVar[CapacityLimiter] = RunVar(f"threads for {name}")

    async def __call__(self, function: Callable[[Unpack[Given]], T], *given: *Given) -> T:
        """What the function answers."""
        return await run_sync(function, *given, limiter=self._of_this_loop())

    def _of_this_loop(self) -> CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(CapacityLimiter(self._at_once))
            return self._limiter.get()


in_storage_thread = ThreadPool("the place of artifacts", 32)
"""An object store that hangs is given up after minutes."""
in_broker_thread = ThreadPool("the broker", 4)
in_metrics_thread = ThreadPool("metrics", 4)
