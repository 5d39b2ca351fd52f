"""`PartialFile`: a file on its way, resumed after an interruption and checked by its SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx

from slimgpt.client.errors import ClientError, DamagedFileError
from slimgpt.client.models.jobs import Artifact
from slimgpt.client.requests import Request

CHUNK_BYTES = 1 << 20


def partial_folder(directory: Path, job_id: str) -> Path:
    """The folder beside it that collects a job's files, and takes its name when all are complete.

    It bears the job's id: what was left of another job's files is not gone on with.

    Raises:
        ClientError: the folder holds something already.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ClientError(f"{directory} exists and is not an empty folder; give another one")
    partial = directory.with_name(f"{directory.name}.{quote(job_id, safe='')}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    return partial


def finish(partial: Path, files: Sequence[Artifact], directory: Path) -> None:
    """Give the folder its name, with the listed files alone: an earlier try may have had others."""
    listed = {partial / PurePosixPath(file.path) for file in files}
    kept = listed.union(*(file.parents for file in listed))
    for path in sorted(partial.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
    partial.rename(directory)


def require_inside(files: Sequence[Artifact]) -> None:
    """Refuse names that would lead out of the folder.

    Raises:
        DamagedFileError: there is one.
    """
    for file in files:
        path = file.path
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path:
            raise DamagedFileError(f"the service names a file outside the folder: {path!r}")


@dataclass
class PartialFile:
    """One file, of which a part may be there from an earlier try.

    Attributes:
        have: its bytes that are here.
    """

    job_id: str
    wanted: Artifact
    folder: Path
    have: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self.target = self.folder / PurePosixPath(self.wanted.path)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if not self.target.is_file():
            return
        if self.target.stat().st_size > self.wanted.size:
            self.target.unlink()
            return
        with self.target.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self._digest.update(chunk)
                self.have += len(chunk)

    @property
    def complete(self) -> bool:
        """Whether all bytes are here."""
        return self.have >= self.wanted.size and self.target.exists()

    @property
    def range(self) -> dict[str, str]:
        """The headers that ask for what is missing; ranges count the file's own bytes."""
        headers = {"Accept-Encoding": "identity"}
        return headers | ({"Range": f"bytes={self.have}-"} if self.have else {})

    @property
    def request(self) -> Request:
        """The request for what is missing; for the whole file, if it has changed."""
        unchanged = {"If-Range": f'"{self.wanted.sha256}"'} if self.have else {}
        path = f"/jobs/{quote(self.job_id, safe='')}/artifacts/{quote(self.wanted.path)}"
        return Request(path=path, headers=self.range | unchanged)

    def begin(self, response: httpx.Response) -> int:
        """Drop what is here if the answer is the whole file; returns how many bytes that were."""
        if response.status_code == httpx.codes.PARTIAL_CONTENT or not self.have:
            return 0
        back, self.have = self.have, 0
        self.target.unlink()
        self._digest = hashlib.sha256()
        return back

    def append(self, chunk: bytes) -> None:
        """Write the next bytes."""
        with self.target.open("ab") as file:
            file.write(chunk)
        self._digest.update(chunk)
        self.have += len(chunk)

    def check(self) -> None:
        """Compare with the service's list.

        Raises:
            DamagedFileError: the file does not match; it is removed.
        """
        if not self.target.exists():
            self.target.touch()
        if self._digest.hexdigest() != self.wanted.sha256:
            self.target.unlink()
            message = f"{self.wanted.path} does not have the sha256 that the service lists"
            raise DamagedFileError(f"{message}; run the same download again")
