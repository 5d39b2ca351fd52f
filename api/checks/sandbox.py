"""Runs a command with limits on memory and CPU time (rlimits).

    python api/checks/sandbox.py BYTES SECONDS COMMAND …

The process limits itself, then becomes the command by exec: a `preexec_fn` would run Python in a
forked copy of a process with threads, which may deadlock. This module imports only the standard
library.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Sequence


def command(argv: Sequence[str], *, memory: int, seconds: int) -> list[str]:
    """The command line that runs `argv` with limits.

    Args:
        argv: the program and its arguments.
        memory: bytes of private memory (RLIMIT_DATA, without mapped libraries and files).
        seconds: CPU time, after which the kernel ends the process.
    """
    return [sys.executable, "-I", "-S", __file__, str(memory), str(seconds), *argv]


def main(argv: Sequence[str]) -> None:
    """Set the limits in the first two arguments, then exec the rest."""
    for kind, most in (
        (resource.RLIMIT_DATA, int(argv[0])),
        (resource.RLIMIT_CPU, int(argv[1])),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    os.execvp(argv[2], list(argv[2:]))


if __name__ == "__main__":
    main(sys.argv[1:])
