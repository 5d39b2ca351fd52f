"""Launches a command that is killed with its parent, also on `kill -9` (PDEATHSIG).

    python -m worker.engine.launch PARENT_PID OOM_SCORE NICE COMMAND …

On Linux, the kernel signals a process when its parent dies, if the process has requested that
(`PR_SET_PDEATHSIG`). The request must be made between fork and exec. A `preexec_fn` would run
Python in a forked copy of a process with threads and may deadlock, so this module runs as a process
that makes the request and becomes the command by exec. The signal follows the parent's *thread*:
start the command from a thread that lives as long as the command should.

The command writes no core file. The kernel prefers to kill it when memory runs out, and prefers
other processes when they need the processor.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
NO_CORE = 1  # byte: with 0, Linux still pipes a core to a collecting program; with 1 it does not
EXPENDABLE = 500
"""Added to `oom_score_adj`, of 1000: counts as half of the machine's memory."""
YIELDING = 5
"""Nice value of what computes for minutes: a third of the processor time of a process beside it."""
NOT_STARTED = 127


def command(argv: Sequence[str], *, oom_score: int = 0, nice: int = 0) -> list[str]:
    """The command line that runs `argv` so that it dies with this process.

    Args:
        argv: the program and its arguments.
        oom_score: added to `oom_score_adj` (Linux); with a higher value, the kernel kills the
            command rather than this process when memory runs out.
        nice: added to the nice value: with a higher one, other processes come first.
    """
    me = [sys.executable, "-I", "-S", __file__]
    return [*me, str(os.getpid()), str(oom_score), str(nice), *argv]


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exit if it is already dead."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit(f"process {parent}, which started this one, is gone")


def forget_signals() -> None:
    """Reset signal handlers and the signal mask to their defaults.

    Ignored and blocked signals are inherited over exec, and Celery's children ignore TERM: the
    engine would ignore it, too.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def leave_no_core() -> None:
    """Disable core files, which would contain weights, texts and the hub's token."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    bound = NO_CORE if hard == resource.RLIM_INFINITY else min(NO_CORE, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (bound, bound))


def go_first(oom_score: int) -> None:
    """Make the kernel kill this process rather than its parent when memory runs out."""
    file = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # only Linux has this file
        file.write_text(str(min(1000, int(file.read_text()) + oom_score)))


def stand_back(nice: int) -> None:
    """Let other processes have the processor first."""
    os.nice(nice)
    # Where Linux groups processes by session, it weighs sessions, and nice values only within one.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


def main(argv: Sequence[str]) -> None:
    """Set up this process, then exec the command in the remaining arguments."""
    if len(argv) < 4 or not all(word.isdigit() for word in argv[:3]):
        raise SystemExit(
            "usage: python -m worker.engine.launch PARENT_PID OOM_SCORE NICE COMMAND …"
        )
    die_with(int(argv[0]))
    forget_signals()
    leave_no_core()
    go_first(int(argv[1]))
    if nice := int(argv[2]):
        stand_back(nice)
    program = list(argv[3:])
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]}: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
