"""`Ending`: how an attempt ended, and the error that tells its owner why it failed."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from jobs.machine_paths import without_rooted
from jobs.redaction import for_clients
from slimgpt.events import Failed, Result

Why = Literal["lost", "cancel", "shutdown"]


@dataclass(frozen=True, slots=True)
class Completed:
    """The engine did all that it was asked."""

    result: Result


@dataclass(frozen=True, slots=True)
class Broken:
    """The job can't be done, or its engine broke: `code`, `message`, `hint`."""

    code: str
    message: str
    hint: str

    def error(self) -> dict[str, str]:
        """As the store keeps it, and clients read it: whoever said it, without paths."""
        return {
            "code": self.code,
            "message": for_clients(self.message),
            "hint": for_clients(self.hint),
        }


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker stopped the engine: lease lost, cancel requested, or planned shutdown."""

    why: Why


Ending = Completed | Broken | Stopped


def of_exit(
    returncode: int, last: Result | Failed | None, where: str, tail: str
) -> Completed | Broken:
    """Judge an engine that ended by itself.

    Args:
        returncode: its exit status, negative for a signal.
        last: the `result` or `failed` event, if it wrote one.
        where: what it was doing, for people: "stage prune, layer 3 of 32".
        tail: the end of what it wrote to standard error.
    """
    if isinstance(last, Failed):
        defect = last.code == "internal-error"
        told = without_rooted(last.message) if defect else last.message
        return Broken(last.code, told, last.hint)
    if returncode < 0:
        return _killed(-returncode, where)
    if returncode != 0:
        words = f"the engine exited with status {returncode} during {where}"
        said = _last_line(tail)
        return Broken("engine-crashed", f"{words}: {said}" if said else words, _REPORT)
    if last is None:
        return Broken("engine-protocol", f"the engine ended without a result in {where}", _REPORT)
    return Completed(last)


_REPORT = (
    "this is a fault of the engine, not of the request; its full output is in the worker's log"
)


def _killed(number: int, where: str) -> Broken:
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    killed = f"the engine was killed by signal {number} ({name}) during {where}"
    if number == signal.SIGKILL:
        hint = "use fewer or shorter calibration sequences, or a machine with more memory"
        return Broken("engine-killed", f"{killed}, most likely because memory ran out", hint)
    return Broken("engine-crashed", killed, _REPORT)


def hung(seconds: float, where: str) -> Broken:
    """No event for too long."""
    return Broken(
        "engine-hung",
        f"the engine gave no sign of life for {seconds:g} s during {where} and was stopped",
        "if a step may take longer on this machine, raise SLIMGPT_ENGINE_HANG_SECONDS",
    )


def overdue(seconds: float, where: str) -> Broken:
    """The attempt's time is over."""
    return Broken(
        "time-limit",
        f"the job was stopped after its time limit of {seconds:g} s, during {where}",
        "use fewer calibration sequences, or raise SLIMGPT_JOB_TIME_LIMIT_SECONDS",
    )


def reason(error: BaseException) -> str:
    """What an exception says, fit for the job's owner: no file's name, no SQL.

    The worker's log holds all of it.
    """
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, SQLAlchemyError):  # statement and parameters
        return name
    said = _last_line(str(error)[:500])
    return f"{name}: {said}" if said else name


def _last_line(tail: str) -> str:
    """What a traceback says at its end, bounded."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return without_rooted(lines[-1])[:500] if lines else ""
