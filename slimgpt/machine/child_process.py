"""Child processes that are killed with their parent (PR_SET_PDEATHSIG)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def exit_with_parent(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent ends.

    Args:
        parent: process id of the parent.

    Raises:
        SystemExit: the parent has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(f"the parent process {parent} has ended")
