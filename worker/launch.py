"""Run a command that dies with the process that started it, even if that one is kill -9ed.

    python -m worker.launch PARENT_PID COMMAND …

The kernel signals a process whose parent died when the process asked for it (Linux:
`PR_SET_PDEATHSIG`). It must ask itself, between fork and exec; a `preexec_fn` would run Python
in a forked copy of a process with threads and may deadlock, so a process of its own does it and
becomes the command by exec. The signal belongs to the parent's *thread*: start the command from
one that lives as long as the command should. Nothing here imports anything heavy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
NOT_STARTED = 127


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` so that it dies with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv]


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


def main(argv: Sequence[str]) -> None:
    """Die with the parent named first, become the command named after it."""
    if len(argv) < 2 or not argv[0].isdigit():
        raise SystemExit("usage: python -m worker.launch PARENT_PID COMMAND …")
    die_with(int(argv[0]))
    forget_signals()
    try:
        os.execvp(argv[1], list(argv[1:]))
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[1]}: {error.strerror}\n")
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
