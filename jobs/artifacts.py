"""`Artifacts`: published files, through fsspec: a local folder or an object store.

Files live under a prefix of their own for every attempt. The manifest is written last: a prefix
without one is not published, whatever else it holds. A local folder is filled aside and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

MANIFEST = "manifest.json"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Artifact:
    """One published file: path below its prefix, bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class ArtifactNotFound(FileNotFoundError):  # noqa: N818 - says what is the case
    """No such file is published under the prefix, or the prefix is not published at all."""


class Artifacts:
    """Files below one root.

    Args:
        url: a folder, or an fsspec URL such as `s3://bucket/folder`.

    Raises:
        ImportError, ValueError: fsspec knows no such protocol, or lacks its package.
    """

    def __init__(self, url: str) -> None:
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = root.rstrip("/")

    def put(self, prefix: str, folder: Path) -> list[Artifact]:
        """Publish a folder's files under `prefix`, in place of what was there.

        Raises:
            ValueError: the prefix is not a plain relative path, or the folder holds something
                that is neither a file nor a folder (a link, for one).
            OSError: a file can't be read or written; nothing is published.
        """
        target = self._at(prefix)
        files = _files_of(folder)
        if isinstance(self.fs, LocalFileSystem):
            return _put_aside(Path(target), folder, files)
        self.delete(prefix)
        artifacts = [self._upload(folder, path, target) for path in files]
        self.fs.pipe_file(f"{target}/{MANIFEST}", _manifest(artifacts))
        return artifacts

    def list(self, prefix: str) -> list[Artifact]:
        """The published files, by path.

        Raises:
            ArtifactNotFound: nothing is published under the prefix.
        """
        try:
            raw = self.fs.cat_file(f"{self._at(prefix)}/{MANIFEST}")
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"nothing is published under {prefix!r}") from error
        return [Artifact(**entry) for entry in json.loads(raw)["files"]]

    def stat(self, prefix: str, path: str) -> Artifact:
        """Size and hash of one file.

        Raises:
            ArtifactNotFound: the manifest doesn't list it; so nothing else can be reached.
        """
        for artifact in self.list(prefix):
            if artifact.path == path:
                return artifact
        raise ArtifactNotFound(f"no file {path!r} is published under {prefix!r}")

    def open(self, prefix: str, path: str) -> IO[bytes]:
        """Open a published file for reading; it can seek.

        Raises:
            ArtifactNotFound: the manifest doesn't list it; so nothing else can be reached.
        """
        target = f"{self._at(prefix)}/{_plain(self.stat(prefix, path).path)}"
        return cast("IO[bytes]", self.fs.open(target, "rb"))

    def delete(self, prefix: str) -> None:
        """Remove everything under the prefix; nothing there is no error."""
        target = self._at(prefix)
        if not self.fs.exists(target):
            return
        # The manifest first: a deletion that stops half-way leaves nothing that looks published.
        if self.fs.exists(f"{target}/{MANIFEST}"):
            self.fs.rm_file(f"{target}/{MANIFEST}")
        self.fs.rm(target, recursive=True)

    def _at(self, prefix: str) -> str:
        return f"{self.root}/{_plain(prefix.strip('/'))}"

    def _upload(self, folder: Path, path: str, target: str) -> Artifact:
        with (folder / path).open("rb") as source, self.fs.open(f"{target}/{path}", "wb") as sink:
            size, digest = _copy(source, sink.write)
        return Artifact(path, size, digest)


def _plain(path: str) -> str:
    """The path, if it can only lead downwards.

    Raises:
        ValueError: it is empty, absolute, or steps up, on this system or another.
    """
    odd = "\\" in path or "\0" in path or path.startswith("/")
    if odd or posixpath.normpath(path) != path or path in ("", ".") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not a plain relative path")
    return path


def _files_of(folder: Path) -> list[str]:
    """Paths of all files below, with `/`, sorted; links and devices are refused."""
    paths = []
    for entry in sorted(folder.rglob("*")):
        path = entry.relative_to(folder).as_posix()
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise ValueError(f"{path!r} is neither a file nor a folder; it is not published")
        if entry.is_file() and path != MANIFEST:
            paths.append(_plain(path))
    return paths


def _put_aside(target: Path, folder: Path, files: list[str]) -> list[Artifact]:
    aside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        artifacts = []
        for path in files:
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("rb") as source, (aside / path).open("wb") as sink:
                size, digest = _copy(source, sink.write)
            artifacts.append(Artifact(path, size, digest))
        aside.mkdir(parents=True, exist_ok=True)
        (aside / MANIFEST).write_bytes(_manifest(artifacts))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return artifacts


def _copy(source: IO[bytes], write: Callable[[bytes], Any]) -> tuple[int, str]:
    """Copy to the end. Returns bytes and SHA-256."""
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(CHUNK):
        write(chunk)
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _manifest(artifacts: list[Artifact]) -> bytes:
    return json.dumps({"files": [asdict(artifact) for artifact in artifacts]}, indent=2).encode()
