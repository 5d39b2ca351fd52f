"""How an attempt ended, and the error shown to the job's owner."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from jobs.logs.machine_paths import without_rooted
from jobs.logs.redaction import for_clients
from slimgpt.events import Failed, Result

SHELL = 128
StopReason = Literal["lost", "cancel", "shutdown"]


@dataclass(frozen=True, slots=True)
class Completed:
    """The engine did all that it was asked."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failure:
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

    why: StopReason


@dataclass(frozen=True, slots=True)
class Killed:
    """A signal ended the engine: as when the machine's memory ran out."""

    number: int
    where: str
    peak_bytes: int = 0

    def words(self, how: str = "") -> str:
        """What happened, in a sentence without its end."""
        known = signal.Signals(self.number).name if self.number in _SIGNALS else "unknown"
        memory = f", having used up to {_size(self.peak_bytes)} of memory" * bool(self.peak_bytes)
        signalled = f"the engine was killed by signal {self.number} ({known})"
        return f"{signalled} {how}during {self.where}{memory}"

    def kill(self) -> dict[str, str | int]:
        """As the store keeps it."""
        return {"where": self.where, "signal": self.number, "bytes": self.peak_bytes}

    def broken(self, *, twice: bool) -> Failure:
        """As the end of the job.

        Args:
            twice: an earlier engine was killed in the same place.
        """
        how = "for the second time " if twice else "in the job's last attempt "
        if self.number == signal.SIGKILL:
            hint = (
                "most likely memory ran out: use fewer or shorter calibration sequences, or a "
                "machine with more memory, and retry the job, which goes on from its last layer"
            )
            return Failure("engine-killed", self.words(how), hint)
        return Failure("engine-crashed", self.words(how), _REPORT)


AttemptResult = Completed | Failure | Stopped | Killed


def from_exit(
    returncode: int, last: Result | Failed | None, where: str, tail: str, peak_bytes: int = 0
) -> Completed | Failure | Killed:
    """Judge an engine that ended by itself.

    Args:
        returncode: its exit status, negative for a signal.
        last: the `result` or `failed` event, if it wrote one.
        where: what it was doing, for people: "stage prune, layer 3 of 32".
        tail: the end of what it wrote to standard error.
        peak_bytes: most memory that it had at once.
    """
    if isinstance(last, Failed):
        defect = last.code == "internal-error"
        told = without_rooted(last.message) if defect else last.message
        return Failure(last.code, told, last.hint)
    number = -returncode if returncode < 0 else returncode - SHELL  # a shell says it so
    if returncode < 0 or number in _SIGNALS:
        return Killed(number, where, peak_bytes)
    if returncode != 0:
        words = f"the engine exited with status {returncode} during {where}"
        said = _last_line(tail)
        return Failure("engine-crashed", f"{words}: {said}" if said else words, _REPORT)
    if last is None:
        return Failure("engine-protocol", f"the engine ended without a result in {where}", _REPORT)
    return Completed(last)


_REPORT = (
    "this is a fault of the engine, not of the request; its full output is in the worker's log"
)


_SIGNALS = frozenset(signal.Signals)


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def hung(seconds: float, where: str) -> Failure:
    """No event for too long."""
    return Failure(
        "engine-hung",
        f"the engine gave no sign of life for {seconds:g} s during {where} and was stopped",
        "if a step may take longer on this machine, raise SLIMGPT_ENGINE_HANG_SECONDS",
    )


def time_limit_exceeded(seconds: float, where: str) -> Failure:
    """The attempt's time is over."""
    return Failure(
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
