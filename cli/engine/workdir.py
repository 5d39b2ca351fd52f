"""`Workdir`: the working folder of `slimgpt prune`; kept only if a run can resume from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from slimgpt.errors import ResumeError, StorageError


class Workdir:
    """`OUT.work`, on the same disk as OUT, so that publishing is one rename.

    Args:
        out: folder of the checkpoint to write.
        resume: continue the work of an earlier run.

    Raises:
        StorageError: OUT exists, or the folder cannot be made.
        ResumeError: an earlier run left its work and `resume` was not asked for.
    """

    def __init__(self, out: Path, *, resume: bool) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".work")
        if os.path.lexists(out):
            raise StorageError(f"{out} exists", hint="remove it or name another folder")
        self.resumed = self.path.exists()
        self._kept = self.resumed
        self._complete = False
        if self.resumed and not resume:
            raise ResumeError(
                f"{self.path} holds the work of an earlier run",
                hint="continue with --resume, or remove that folder to start again",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be created: {error.strerror}", hint="name another folder"
            ) from error

    def keep(self) -> None:
        """Keep the folder if the run fails from now on: a layer is finished."""
        self._kept = True

    def publish(self, checkpoint: str) -> None:
        """Rename the finished checkpoint to OUT; the rest of the folder can be removed.

        Raises:
            StorageError: OUT appeared meanwhile.
        """
        try:
            (self.path / checkpoint).rename(self.out)
        except OSError as error:
            self._kept = self._complete = True
            raise StorageError(
                f"{self.path / checkpoint} cannot be renamed to {self.out}: {error.strerror}",
                hint=f"it is finished: move {self.path / checkpoint} by hand",
            ) from error
        self._kept = False

    def left_behind(self) -> str:
        """How the user can continue an unfinished run; empty if nothing is kept."""
        if not self._kept or self._complete:  # nothing is left to go on with
            return ""
        return f"finished layers are kept in {self.path}: the same command with --resume continues"

    def discard_unless_kept(self) -> None:
        """Remove the folder if no run can resume from it."""
        if not self._kept:
            shutil.rmtree(self.path, ignore_errors=True)
