"""A disk that can be full: a small file system in memory, where this user may mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SIZE_BYTES = 256 << 20


class Disk:
    """A folder, on a file system of its own if `mounted`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs"]
        try:
            done = subprocess.run(["mount", *options, folder], check=False, capture_output=True)
        except FileNotFoundError:
            self.mounted = False
        else:
            self.mounted = done.returncode == 0

    @contextmanager
    def almost_full(self, left: int) -> Iterator[None]:
        """Leave so many bytes for everybody else."""
        assert self.mounted, "the disk of the whole machine is not to be filled"
        ballast = self.folder / "ballast"
        try:
            # Full before that, because others write too: so much the better.
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                taken = psutil.disk_usage(str(self.folder)).free - left
                for _ in range(max(taken, 0) >> 20):
                    file.write(bytes(1 << 20))
            yield
        finally:
            ballast.unlink()

    def close(self) -> None:
        """Unmount it; lazily, in case something still looks at it."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.folder], check=False)
