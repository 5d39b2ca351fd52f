"""Long transfers on threads: `run_cancellable`, abandoned on cancel, shutdown or lost lease, and
`aside`, which is not waited for.

A store may hang in the middle of a part. The job's end must not wait for it: the transfer is told
to stop, and if it does not at once it cleans up after itself whenever it can.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from jobs.files.transfer import Stop
from worker.job.attempt_result import StopReason
from worker.job.lease import Lease

TICK_SECONDS = 0.2
PATIENCE_SECONDS: dict[StopReason, float] = {
    "lost": 0.5,
    "cancel": 0.5,
    "shutdown": 3.0,  # what it has not removed when the process ends, the reaper will
}
T = TypeVar("T")


class StopRequested(Exception):  # noqa: N818 - says what is the case
    """There was a reason to stop before the end."""

    def __init__(self, why: StopReason) -> None:
        super().__init__(why)
        self.why: StopReason = why


def aside(step: Callable[[], object], seconds: float) -> None:
    """Tidy up on a thread of its own, and wait for that only so long: no end of a job hangs on it.

    Args:
        step: never raises; what it has not done when the process ends, the reaper will do.
        seconds: after them it goes on alone.
    """
    context = contextvars.copy_context()
    tidying = threading.Thread(target=context.run, args=(step,), name="tidying", daemon=True)
    tidying.start()
    tidying.join(seconds)


def stop_reason(lease: Lease, shutting_down: Callable[[], bool]) -> StopReason | None:
    """The reason to leave a job at once, if there is one."""
    if lease.is_lost():
        return "lost"
    if lease.cancel.is_set():
        return "cancel"
    return "shutdown" if shutting_down() else None


def run_cancellable(step: Callable[[Stop], T], reason: Callable[[], StopReason | None]) -> T:
    """Do a step, and stop it when there is a reason to.

    Args:
        step: gets a function that says whether to stop; it raises then, and leaves nothing.
        reason: asked again and again, and once before the start.

    Raises:
        StopRequested: `reason` gave one, and the step did not come to its end all the same.
        Exception: what the step raised.
    """
    over = threading.Event()
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(step(over.is_set))
        except BaseException as error:
            done.set_exception(error)

    if (why := reason()) is not None:
        raise StopRequested(why)
    context = contextvars.copy_context()  # what the log lines are marked with
    threading.Thread(target=context.run, args=(work,), name="transfer", daemon=True).start()
    while not wait([done], TICK_SECONDS).done:
        if (why := reason()) is not None:
            over.set()
            wait([done], PATIENCE_SECONDS[why])
            if not done.done() or done.exception() is not None:
                raise StopRequested(why)
    return done.result()
