"""`Spool`: the temporary file of an upload, validated and hashed while it is written.

    UPLOADS_ROOT/SET_ID/SET_ID.jsonl

Only this user can read it, and it is removed at the end of the request. A killed process leaves the
file, but not its lock: the next upload on this machine removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from pathlib import Path

from jobs.files.calibration_sets import Content, Format, file_of, new_set_id
from slimgpt.texts.upload_checks import check_of

ABANDONED_SECONDS = 600.0
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """One upload; a context manager that removes its folder.

    Args:
        root: parent folder; created if missing.
        form: declared format.
        text_field: field that holds the text; None: detected.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, root: Path, form: Format, text_field: str | None) -> None:
        self.id = new_set_id()
        self.size = 0
        self._form = form
        self._check = check_of(form, text_field)
        self._digest = hashlib.sha256()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = root / self.id
        self.folder.mkdir(mode=0o700)
        try:
            self._file = os.open(self.folder / file_of(self.id, form), FLAGS, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._file)  # the lock goes last

    def feed(self, chunk: bytes) -> None:
        """Validate and write the next bytes.

        Raises:
            slimgpt.texts.upload_checks.BadText: they are not valid in this format.
            OSError: they cannot be written.
        """
        self._check.feed(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def finish(self) -> Content:
        """Finish the validation; returns what was uploaded.

        Raises:
            slimgpt.texts.upload_checks.BadText: the text is incomplete or empty.
        """
        return Content(self._form, self._check.finish(), self.size, self._digest.hexdigest())


def sweep(root: Path) -> list[str]:
    """Remove the files of killed processes of this machine. Returns their names."""
    removed = []
    old = time.time() - ABANDONED_SECONDS
    for folder in root.glob("cal_*"):
        try:
            # A new file may have no lock yet.
            if folder.stat().st_mtime > old or _in_use(folder):
                continue
        except OSError:  # gone meanwhile
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(folder.name)
    return removed


def _in_use(folder: Path) -> bool:
    """Whether a process holds the lock of a file in the folder."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
