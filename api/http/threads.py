"""Separate thread pools for calls that may hang: one slow server does not block the others.

FastAPI runs functions that are not `async` on one shared pool, which here serves the database only.
The artifact store, the broker and metrics have their own.
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
    """A limited number of threads; calls wait, without a thread, while all are busy.

    Args:
        name: what the threads wait for.
        at_once: number of threads.
    """

    def __init__(self, name: str, at_once: int) -> None:
        self._at_once = at_once
        self._limiter: RunVar[CapacityLimiter] = RunVar(f"threads for {name}")

    async def __call__(self, function: Callable[[Unpack[Given]], T], *given: *Given) -> T:
        """Call the function on a thread of the pool."""
        return await run_sync(function, *given, limiter=self._of_this_loop())

    def _of_this_loop(self) -> CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(CapacityLimiter(self._at_once))
            return self._limiter.get()


in_storage_thread = ThreadPool("the artifact store", 32)
"""Calls to a hanging object store time out after minutes."""
in_broker_thread = ThreadPool("the broker", 4)
in_metrics_thread = ThreadPool("metrics", 4)
