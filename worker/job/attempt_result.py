"""How an attempt ended, and the error shown to the job's owner."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from jobs.logs.machine_paths import without_rooted
from jobs.logs.redaction import for_clients
from slimgpt.events import Failed, Result
from worker.engine.oom_kills import Finding

SHELL = 128
StopReason = Literal["lost", "cancel", "shutdown"]


@dataclass(frozen=True, slots=True)
class Completed:
    """The engine finished the job."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failure:
    """The job cannot be done, or its engine failed: `code`, `message`, `hint`."""

    code: str
    message: str
    hint: str

    def error(self) -> dict[str, str]:
        """The error as it is stored and sent to clients, without paths of this machine."""
        return {
            "code": self.code,
            "message": for_clients(self.message),
            "hint": for_clients(self.hint),
        }


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker stopped the engine: lease lost, cancel requested, or planned shutdown."""

    reason: StopReason


@dataclass(frozen=True, slots=True)
class Killed:
    """A signal ended the engine.

    `out_of_memory`: what the system's counters tell; `limit`: of the memory of the worker's control
    group, bytes.
    """

    number: int
    where: str
    peak_bytes: int = 0
    out_of_memory: Finding = "unknown"
    limit: int | None = None

    def message(self, how: str = "") -> str:
        """A sentence for people, without a full stop."""
        known = signal.Signals(self.number).name if self.number in _SIGNALS else "unknown"
        memory = f", after it used up to {_size(self.peak_bytes)} of memory" * bool(self.peak_bytes)
        signalled = f"the engine was killed by signal {self.number} ({known})"
        return f"{signalled} {how}during {self.where}{memory}{self._cause()}"

    def _cause(self) -> str:
        """What the system says of a SIGKILL; of other signals nothing."""
        if self.number != signal.SIGKILL:
            return ""
        limit = f" at the worker's limit of {_size(self.limit)}" if self.limit else ""
        return {
            "group": f": the system killed it because memory ran out{limit}",
            "machine": ": memory ran out on the machine, and the system killed a process",
            "none": ": the system did not run out of memory",
            "unknown": ": the system does not tell whether memory ran out",
        }[self.out_of_memory]

    def record(self) -> dict[str, str | int]:
        """The kill as it is stored in `Job.engine_kills`."""
        return {
            "where": self.where,
            "signal": self.number,
            "bytes": self.peak_bytes,
            "out_of_memory": self.out_of_memory,
        }

    def failure(self, *, twice: bool) -> Failure:
        """The failure of the job.

        Args:
            twice: an earlier engine was killed at the same point.
        """
        how = "for the second time " if twice else "in the job's last attempt "
        if self.number == signal.SIGKILL:
            return Failure("engine-killed", self.message(how), _HINTS[self.out_of_memory])
        return Failure("engine-crashed", self.message(how), _ENGINE_DEFECT)


AttemptResult = Completed | Failure | Stopped | Killed


def from_exit(
    returncode: int,
    last: Result | Failed | None,
    where: str,
    tail: str,
    peak_bytes: int = 0,
    memory: tuple[Finding, int | None] = ("unknown", None),
) -> Completed | Failure | Killed:
    """The result of an engine that ended without being stopped.

    Args:
        returncode: the exit status, negative for a signal.
        last: the `result` or `failed` event, if the engine wrote one.
        where: what the engine was doing, for people: "stage prune, layer 3 of 32".
        tail: the end of its standard error.
        peak_bytes: peak resident memory.
        memory: whether it ran out, as the system tells, and its limit in bytes.
    """
    if isinstance(last, Failed):
        defect = last.code == "internal-error"
        message = without_rooted(last.message) if defect else last.message
        return Failure(last.code, message, last.hint)
    number = -returncode if returncode < 0 else returncode - SHELL  # a shell reports 128 + signal
    if returncode < 0 or number in _SIGNALS:
        return Killed(number, where, peak_bytes, *memory)
    if returncode != 0:
        message = f"the engine exited with status {returncode} during {where}"
        last_line = _last_line(tail)
        message += f": {last_line}" if last_line else ""
        return Failure("engine-crashed", message, _ENGINE_DEFECT)
    if last is None:
        message = f"the engine ended without a result during {where}"
        return Failure("engine-protocol", message, _ENGINE_DEFECT)
    return Completed(last)


_LESS_MEMORY = "use fewer or shorter calibration sequences, or a machine with more memory"
_RETRY = "retry the job; it resumes after its last finished layer"
_NOT_MEMORY = "somebody sent the signal: an operator, a service manager, an orchestrator"
_HINTS: dict[Finding, str] = {
    "group": f"{_LESS_MEMORY}, and {_RETRY}",
    "machine": f"{_LESS_MEMORY}, or stop what else runs there, and {_RETRY}",
    "none": f"{_NOT_MEMORY}; {_RETRY}",
    "unknown": f"{_NOT_MEMORY}, or the system because memory ran out; {_RETRY}",
}
_ENGINE_DEFECT = (
    "this is a defect of the engine, not of the request; its full output is in the worker's log"
)
_SIGNALS = frozenset(signal.Signals)


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def hung(seconds: float, where: str) -> Failure:
    """The failure of an engine that sent no event for too long."""
    return Failure(
        "engine-hung",
        f"the engine sent no event for {seconds:g} s during {where} and was stopped",
        "if a step can take longer on this machine, raise SLIMGPT_ENGINE_HANG_SECONDS",
    )


def time_limit_exceeded(seconds: float, where: str) -> Failure:
    """The failure of an attempt that reached its time limit."""
    return Failure(
        "time-limit",
        f"the job was stopped after its time limit of {seconds:g} s, during {where}",
        "use fewer calibration sequences, or raise SLIMGPT_JOB_TIME_LIMIT_SECONDS",
    )


def public_message(error: BaseException) -> str:
    """An exception's message for the job's owner: without file names and SQL.

    The worker's log has the full message.
    """
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, SQLAlchemyError):  # statement and parameters
        return name
    message = _last_line(str(error)[:500])
    return f"{name}: {message}" if message else name


def _last_line(tail: str) -> str:
    """The last line of a traceback, at most 500 characters."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    return without_rooted(lines[-1])[:500] if lines else ""
