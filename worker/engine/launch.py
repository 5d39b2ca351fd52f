"""Launches a command that is killed with its parent, also on `kill -9` (PDEATHSIG).

    python -m worker.engine.launch PARENT_PID OOM_SCORE COMMAND …

The kernel signals a process whose parent died when the process asked for it (Linux:
`PR_SET_PDEATHSIG`). It must ask itself, between fork and exec; a `preexec_fn` would run Python
in a forked copy of a process with threads and may deadlock, so a process of its own does it and
becomes the command by exec. The signal belongs to the parent's *thread*: start the command from
one that lives as long as the command should. Nothing here imports anything heavy.

What it runs leaves no core file, and may be the first that the kernel kills when memory is out.
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
NO_CORE = 1  # byte: Linux passes even an empty core on to a program that collects them, but for 1
EXPENDABLE = 500
"""Of 1000: as if it took half of the machine's memory more than it does."""
NOT_STARTED = 127


def command(argv: Sequence[str], *, oom_score: int = 0) -> list[str]:
    """The command line that runs `argv` so that it dies with this process.

    Args:
        argv: the program and its arguments.
        oom_score: by how much the kernel shall rather kill it than this process when memory is
            out (Linux: `oom_score_adj`).
    """
    me = [sys.executable, "-I", "-S", __file__]
    return [*me, str(os.getpid()), str(oom_score), *argv]


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; leave if it is dead already."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit(f"process {parent}, which started this one, is gone")


def forget_signals() -> None:
    """Take every signal as a program expects to find it.

    What is ignored or blocked stays so over exec, and Celery's children ignore TERM: an engine
    started by one would not hear that it is asked to stop.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def leave_no_core() -> None:
    """A core file would hold weights, texts and the hub's token, on a disk that nobody watches."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    bound = NO_CORE if hard == resource.RLIM_INFINITY else min(NO_CORE, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (bound, bound))


def go_first(oom_score: int) -> None:
    """Have the kernel kill this process rather than its parent when memory is out."""
    file = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # elsewhere than on Linux there is no such thing
        file.write_text(str(min(1000, int(file.read_text()) + oom_score)))


def main(argv: Sequence[str]) -> None:
    """Die with the parent named first, become the command named after its score."""
    if len(argv) < 3 or not (argv[0].isdigit() and argv[1].isdigit()):
        raise SystemExit("usage: python -m worker.engine.launch PARENT_PID OOM_SCORE COMMAND …")
    die_with(int(argv[0]))
    forget_signals()
    leave_no_core()
    go_first(int(argv[1]))
    program = list(argv[2:])
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]}: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
