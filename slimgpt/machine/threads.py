"""Threads of a process that computes: as many as processors that it may use.

torch counts the processors of its affinity. It does not see the quota of a container (`--cpus`,
`limits.cpu`): with more threads than processors, each product waits for threads that may not run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NUMBER, WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"


def prepare() -> None:
    """Set the number of threads, unless the environment names one, for this process and its own.

    Call it before torch is imported: OpenMP reads the variables once. A thread that waits for
    others sleeps; by default it keeps a processor busy that other processes need.
    """
    os.environ.setdefault(NUMBER, str(available()))
    os.environ.setdefault(WAITING, "PASSIVE")


def available(root: Path = Path("/")) -> int:
    """Processors that this process may use: its affinity, and the quotas of its control groups.

    Args:
        root: of the file system with `proc` and `sys`.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that the limited ones of its control groups may use, v1 and v2.

    In a container the group is mounted as the root, whatever its path outside.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        inside = Path(path.lstrip("/"))
        for group in (inside, *inside.parents):
            if controllers == "":
                yield from _share(_text(root / "sys/fs/cgroup" / group / "cpu.max"))
            elif "cpu" in controllers.split(","):
                place = root / "sys/fs/cgroup/cpu" / group
                quota, period = place / "cpu.cfs_quota_us", place / "cpu.cfs_period_us"
                yield from _share(f"{_text(quota)} {_text(period)}")


def _share(text: str) -> Iterator[float]:
    """Quota over period; nothing for `max`, -1, or what is not there."""
    words = text.split()
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
