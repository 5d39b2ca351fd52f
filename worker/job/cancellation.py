"""Transfers on threads: `run_cancellable` stops on cancel, shutdown or a lost lease,
`run_with_timeout` continues in the background after a timeout.

An artifact store may hang during a transfer, and the end of a job must not wait for it. The
transfer is asked to stop; one that does not stop at once cleans up later, on its thread.
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
    "shutdown": 3.0,  # the reaper removes what is left when the process ends
}
T = TypeVar("T")


class StopRequested(Exception):  # noqa: N818 - a state of the job, not an error
    """The step was stopped before its end."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason: StopReason = reason


def run_with_timeout(step: Callable[[], object], seconds: float) -> None:
    """Run a clean-up step on its own thread and wait for it at most `seconds`.

    Args:
        step: never raises; the reaper repeats what is not done when the process ends.
        seconds: afterwards the step continues in the background.
    """
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(step,), name="tidying", daemon=True)
    thread.start()
    thread.join(seconds)


def stop_reason(lease: Lease, shutting_down: Callable[[], bool]) -> StopReason | None:
    """The reason to stop working on the job, or None."""
    if lease.is_lost():
        return "lost"
    if lease.cancel.is_set():
        return "cancel"
    return "shutdown" if shutting_down() else None


def run_cancellable(step: Callable[[Stop], T], reason: Callable[[], StopReason | None]) -> T:
    """Run a step on a thread until it ends or there is a reason to stop.

    Args:
        step: receives a function that returns whether to stop; it then raises and leaves nothing.
        reason: returns the reason to stop; called before the start and repeatedly afterwards.

    Raises:
        StopRequested: there was a reason to stop, and the step did not complete.
        Exception: raised by the step.
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
    context = contextvars.copy_context()  # log entries keep the job's ids
    threading.Thread(target=context.run, args=(work,), name="transfer", daemon=True).start()
    while not wait([done], TICK_SECONDS).done:
        if (why := reason()) is not None:
            over.set()
            wait([done], PATIENCE_SECONDS[why])
            if not done.done() or done.exception() is not None:
                raise StopRequested(why)
    return done.result()
