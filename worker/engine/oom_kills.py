"""Whether the system killed a process because memory ran out, from its own counters.

SIGKILL comes from anyone: the kernel's out-of-memory killer, an operator, an orchestrator. Only the
kernel knows which, and counts its kills: of the processes of a control group in `memory.events`
(cgroup v2) or `memory.oom_control` (v1), of the whole machine in `/proc/vmstat`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Finding = Literal["group", "machine", "none", "unknown"]
"""Out of memory: the process's control group, or some process of the machine; not; not known."""
COUNTER = "oom_kill"
UNLIMITED = 1 << 60
"""Bytes from which a limit is none; cgroup v1 writes almost 2⁶³."""


@dataclass(frozen=True, slots=True)
class OomKills:
    """Counts of processes killed because memory ran out; None: the system does not tell.

    Attributes:
        group: in this process's control group, whichever level ran out of memory.
        machine: on the machine.
        limit: of the group's memory, bytes.
    """

    group: int | None = None
    machine: int | None = None
    limit: int | None = None

    def since(self, before: OomKills) -> Finding:
        """What the counts of before and now tell of a process of this group that was killed."""
        if self.group is not None and before.group is not None:
            # The kernel counts a kill in the victim's group, also where the machine ran out.
            return "group" if self.group > before.group else "none"
        if self.machine is not None and before.machine is not None:
            return "machine" if self.machine > before.machine else "none"
        return "unknown"


def read(root: Path = Path("/")) -> OomKills:
    """The counts now.

    Args:
        root: of the file system with `proc` and `sys`.
    """
    group, limit = None, None
    for counts, most in _places(root):
        group = _count(counts) if group is None else group
        limit = _bytes(most) if limit is None else limit
    return OomKills(group, _count(root / "proc/vmstat"), limit)


def _places(root: Path) -> list[tuple[Path, Path]]:
    """Files with the counter and the limit of this process's control group, v1 and v2.

    In a container the group is mounted as the root, whatever its path outside.
    """
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        inside = path.lstrip("/")
        if controllers == "":
            for folder in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                for place in (root / folder / inside, root / folder):
                    found.append((place / "memory.events", place / "memory.max"))
        elif "memory" in controllers.split(","):
            for place in (root / "sys/fs/cgroup/memory" / inside, root / "sys/fs/cgroup/memory"):
                found.append((place / "memory.oom_control", place / "memory.limit_in_bytes"))
    return found


def _count(file: Path) -> int | None:
    for line in _lines(file):
        name, _, value = line.partition(" ")
        if name == COUNTER and value.strip().isdigit():
            return int(value)
    return None


def _bytes(file: Path) -> int | None:
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdigit() and int(text) < UNLIMITED else None


def _lines(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    return []
