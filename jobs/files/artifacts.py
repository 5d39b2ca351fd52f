"""`Artifacts`: the artifact store, through fsspec: a local folder or an object store.

Every attempt publishes its files under its own prefix. The manifest is written last: a prefix
without a manifest is not published. A local folder is filled under a temporary name and renamed.
Single files (`send`, `write`, `read`, `fetch`) are for callers with their own manifest.
"""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential

from jobs.files import multipart, transfer
from jobs.files.storage_urls import S3, is_local, open_storage, protocol_of, storage_errors
from jobs.files.transfer import Interrupted, Stop, never, plain

MANIFEST = "manifest.json"
ATTEMPTS = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file: path below its prefix, bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class ArtifactNotFound(FileNotFoundError):  # noqa: N818 - says what is the case
    """The file, or the prefix, is not published."""


class HashMismatch(OSError):  # noqa: N818 - says what is the case
    """A file in the store does not have the expected SHA-256."""


class Artifacts:
    """Files below one root.

    Args:
        url: a folder, or an fsspec URL such as `s3://bucket/folder`.

    Raises:
        jobs.files.storage_urls.BadStorageUrl: files can't be kept at such a URL.
    """

    def __init__(self, url: str) -> None:
        self.fs, self.root = open_storage(url)
        self.local = is_local(self.fs)
        """Whether the files are in a folder of this machine."""
        self._s3 = protocol_of(url) in S3

    def probe(self) -> None:
        """Check that the store exists; a local folder is created.

        Raises:
            OSError: it does not exist, or refuses access.
        """
        with storage_errors():
            if self.local:
                self.fs.makedirs(self.root, exist_ok=True)
            elif self._s3:
                bucket = self.root.split("/")[0]
                try:
                    self.fs.call_s3("head_bucket", Bucket=bucket)
                except FileNotFoundError as error:
                    words = f"there is no bucket {bucket!r}; `python -m jobs.files.bucket` makes it"
                    raise FileNotFoundError(words) from error
            else:
                self.fs.exists(self.root)

    def put(self, prefix: str, folder: Path, stop: Stop = never) -> list[Artifact]:
        """Publish a folder's files under `prefix`, in place of what was there.

        Args:
            stop: checked between files and inside large ones.

        Raises:
            ValueError: the prefix is not a plain relative path, or the folder has links.
            OSError: a file cannot be read or written; nothing is published.
            Interrupted: `stop` returned True; nothing is published or left.
        """
        target = self._at(prefix)
        files = [path for path in transfer.files_of(folder) if path != MANIFEST]
        if self.local:
            return _patiently(lambda: _put_aside(Path(target), folder, files, stop))
        self.delete(prefix)
        try:
            artifacts = [self._upload(folder / path, target, path, stop) for path in files]
            if stop():
                raise Interrupted
            self.write(prefix, MANIFEST, _manifest(artifacts))
        except BaseException:
            with suppress(Exception):  # raise the original error
                self.delete(prefix)
            raise
        return artifacts

    def list(self, prefix: str) -> list[Artifact]:
        """The published files, by path.

        Raises:
            ArtifactNotFound: nothing is published under the prefix.
            OSError: the store does not answer.
        """
        try:
            raw = self.read(prefix, MANIFEST)
        except FileNotFoundError as error:
            raise ArtifactNotFound(f"nothing is published under {prefix!r}") from error
        return [Artifact(**entry) for entry in json.loads(raw)["files"]]

    def stat(self, prefix: str, path: str) -> Artifact:
        """Size and hash of one published file.

        Raises:
            ArtifactNotFound: the manifest doesn't list it; so nothing else can be reached.
            OSError: the store does not answer.
        """
        for artifact in self.list(prefix):
            if artifact.path == path:
                return artifact
        raise ArtifactNotFound(f"no file {path!r} is published under {prefix!r}")

    def open(self, prefix: str, path: str) -> IO[bytes]:
        """Open a published file for reading; it can seek.

        Raises:
            ArtifactNotFound: the manifest doesn't list it; so nothing else can be reached.
            OSError: the store does not answer.
        """
        target = self.at(prefix, self.stat(prefix, path).path)
        with storage_errors():
            return cast("IO[bytes]", self.fs.open(target, "rb"))

    def delete(self, prefix: str) -> None:
        """Remove everything under the prefix, if anything is there.

        Raises:
            OSError: the store does not answer, or does not remove a file.
        """
        target = self._at(prefix)
        with storage_errors():
            if self.local:
                shutil.rmtree(_aside(Path(target)), ignore_errors=True)
            if self._s3:
                multipart.abort(self.fs, target)
            if not self.fs.exists(target):
                return
            # The manifest first: a partly deleted prefix must not look published.
            with suppress(FileNotFoundError):
                self.fs.rm_file(f"{target}/{MANIFEST}")
            if self.local:
                while self.fs.exists(target):
                    # Another process may be removing the same files.
                    with suppress(FileNotFoundError):
                        self.fs.rm(target, recursive=True)
                return
            with suppress(FileNotFoundError):
                self.fs.rm(target, recursive=True)
            # Stores may refuse single files without an error, and keep empty folders for a while.
            found = self.fs.find(target, detail=True).values()
            if kept := [entry for entry in found if entry["type"] == "file"]:
                raise PermissionError(f"{len(kept)} files under {prefix!r} cannot be removed")

    def children(self, prefix: str) -> builtins.list[str]:
        """Names right below a prefix, those of unfinished uploads too; none if there is nothing.

        Raises:
            OSError: the store does not answer.
        """
        target = self._at(prefix)
        with storage_errors():
            unfinished = multipart.names(self.fs, target) if self._s3 else set[str]()
            try:
                found = self.fs.ls(target, detail=False)
            except FileNotFoundError:
                found = []
        return sorted({path.rstrip("/").rsplit("/", 1)[1] for path in found} | unfinished)

    def send(self, prefix: str, path: str, source: Path, stop: Stop = never) -> Artifact:
        """Put one file under a prefix, which is not published by that.

        Raises:
            OSError: it can't be read or written.
            Interrupted: `stop` said so; there is no such file then.
        """
        return self._upload(source, self._at(prefix), plain(path), stop)

    def write(self, prefix: str, path: str, content: bytes) -> None:
        """Write a small file under a prefix, atomically.

        Raises:
            OSError: it can't be written.
        """
        target = self.at(prefix, path)
        if self.local:
            _patiently(lambda: transfer.replace(Path(target), content))
        else:
            _patiently(lambda: self.fs.pipe_file(target, content))

    def read(self, prefix: str, path: str) -> bytes:
        """A small file's content.

        Raises:
            FileNotFoundError: there is none.
            OSError: the store does not answer.
        """
        with storage_errors():
            return cast(bytes, self.fs.cat_file(self.at(prefix, path)))

    def fetch(self, prefix: str, artifact: Artifact, target: Path, stop: Stop = never) -> None:
        """Download one file and verify its SHA-256.

        Raises:
            HashMismatch: it differs from `artifact`; `target` is removed.
            OSError: it can't be read or written.
            Interrupted: `stop` returned True; `target` is removed.
        """
        source = self.at(prefix, artifact.path)
        try:
            with storage_errors(), self.fs.open(source, "rb") as reading, target.open("wb") as sink:
                size, sha256 = transfer.copy(reading, sink.write, stop)
            if (size, sha256) != (artifact.size, artifact.sha256):
                raise HashMismatch(f"{source} is not what was stored there")
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def at(self, prefix: str, path: str) -> str:
        """The path of a file in the file system: bucket and key, or a local path.

        Raises:
            ValueError: one of them is not a plain relative path.
        """
        return f"{self._at(prefix)}/{plain(path)}"

    def drop_empty(self, prefix: str) -> None:
        """Remove the folder itself, if nothing is in it; object stores have none."""
        if self.local:
            with suppress(OSError):
                Path(self._at(prefix)).rmdir()

    def _at(self, prefix: str) -> str:
        return f"{self.root}/{plain(prefix.strip('/'))}"

    def _upload(self, source: Path, folder: str, path: str, stop: Stop) -> Artifact:
        target = f"{folder}/{path}"
        if self.local:
            size, sha256 = _patiently(lambda: transfer.copy_aside(source, Path(target), stop))
        else:
            size, sha256 = _patiently(lambda: multipart.send(self.fs, source, target, stop))
        return Artifact(path, size, sha256)


def _patiently(step: Callable[[], T]) -> T:
    """Repeat a failed transfer, except for invalid files."""
    retrying = Retrying(
        retry=retry_if_not_exception_type((ValueError, Interrupted)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(0.5),
        reraise=True,
    )
    with storage_errors():
        return retrying(step)


def _put_aside(target: Path, folder: Path, files: list[str], stop: Stop) -> list[Artifact]:
    aside = _aside(target)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        known = transfer.fill(folder, files, aside, stop)
        artifacts = [Artifact(path, *facts) for path, facts in zip(files, known, strict=True)]
        transfer.replace(aside / MANIFEST, _manifest(artifacts))
        transfer.swap_in(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return artifacts


def _aside(target: Path) -> Path:
    """The temporary name of a local folder."""
    return target.with_name(f"{target.name}.partial")


def _manifest(artifacts: list[Artifact]) -> bytes:
    return json.dumps({"files": [asdict(artifact) for artifact in artifacts]}, indent=2).encode()
