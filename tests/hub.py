"""A small Hugging Face hub: folders on disk, served by the protocol that its clients speak.

Enough for huggingface_hub and datasets to work unmodified through HF_ENDPOINT: repository
information, trees, files with ETag, commit and ranges, large files by redirection, and the hub's
ways to say no. `ROOT/models/org/name` and `ROOT/datasets/org/name` are the repositories; each has
one commit, the hash of its content, which is also `main`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_a_member"
LARGE = (".safetensors", ".bin", ".parquet", ".gz")
API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(?P<rest>/.*)?")
FILE = re.compile(
    r"/(?P<kind>datasets/)?(?P<repo>[^/]+/[^/]+)/(?P<how>resolve|cdn)/(?P<revision>[^/]+)/(?P<path>.+)"
)


class Repository:
    """One folder, as the hub sees it."""

    def __init__(self, kind: str, name: str, folder: Path) -> None:
        self.kind = kind
        self.name = name
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in self.files.items()
        }

    @cached_property
    def commit(self) -> str:
        """40 hexadecimal digits that change with any file."""
        return hashlib.sha1(json.dumps(self.hashes).encode()).hexdigest()

    def entry(self, name: str) -> dict[str, Any]:
        """A file as trees list it."""
        size = self.files[name].stat().st_size
        entry = {"type": "file", "path": name, "size": size, "oid": self.hashes[name][:40]}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": self.hashes[name], "size": size, "pointerSize": 130}
        return entry

    def tree(self, below: str, recursive: bool) -> list[dict[str, Any]]:
        """Files and folders below a folder; "" is the root."""
        prefix = f"{below}/" if below else ""
        inside = [name for name in self.files if name.startswith(prefix)]
        folders = {
            "/".join(parts[:depth])
            for parts in (name.split("/") for name in inside)
            for depth in range(1, len(parts))
        }
        entries = [self.entry(name) for name in inside]
        entries += [
            {"type": "directory", "path": folder, "size": 0, "oid": "0" * 40}
            for folder in sorted(folders)
            if folder.startswith(prefix)
        ]
        depth = prefix.count("/")
        return [e for e in entries if recursive or e["path"].count("/") == depth]


@dataclass
class Hub:
    """The server's state, which a test may change.

    Attributes:
        root: folder of the repositories.
        url: where it listens; the value for HF_ENDPOINT.
        gated: names whose information is public and whose files need a member's token.
        private: names that exist for members only.
        down: answer everything with 503.
        sizes: sizes to claim in repository information, by file name, instead of the real ones.
        asked: paths asked for so far.
    """

    root: Path
    url: str = ""
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    down: bool = False
    sizes: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def repository(self, kind: str, name: str) -> Repository | None:
        """The repository of that name; None where there is none."""
        folder = self.root / kind / name
        return Repository(kind, name, folder) if folder.is_dir() else None


class RefusalError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: HTTPStatus, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or status.phrase


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        """Tests read `Hub.asked` instead."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.hub.asked.append(path)
        try:
            if self.hub.down:
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE)
            if match := API.fullmatch(path):
                repository = self._repository(match["kind"], match["repo"])
                self._json(self._api(repository, match["rest"] or "", query | parse_qs(body)))
            elif match := FILE.fullmatch(path):
                repository = self._repository(
                    "datasets" if match["kind"] else "models", match["repo"]
                )
                self._file(repository, match)
            else:
                raise RefusalError(HTTPStatus.NOT_FOUND)
        except RefusalError as refusal:
            self._refuse(refusal)

    @property
    def _member(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, kind: str, name: str) -> Repository:
        repository = self.hub.repository(kind, name)
        hidden = name in self.hub.private and not self._member
        if repository is None or hidden:
            if self._member:
                raise RefusalError(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
            # Strangers are not told whether it exists.
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "", "Invalid username or password.")
        return repository

    def _check_revision(self, repository: Repository, revision: str) -> None:
        if revision not in ("main", repository.commit):
            raise RefusalError(
                HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}"
            )

    def _check_gate(self, repository: Repository) -> None:
        if repository.name in self.hub.gated and not self._member:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "GatedRepo", "Access to it is restricted.")

    def _api(self, repository: Repository, rest: str, query: dict[str, list[str]]) -> Any:
        _, verb, revision, *below = [*rest.split("/", 3), "", ""][:4]
        self._check_revision(repository, revision or "main")
        if verb == "tree":
            recursive = query.get("recursive", ["False"])[0].lower() in ("true", "1")
            entries = repository.tree("".join(below), recursive)
            if below[0] and not entries:
                raise RefusalError(HTTPStatus.NOT_FOUND, "EntryNotFound")
            return entries
        if verb == "paths-info":
            return [repository.entry(p) for p in query["paths"] if p in repository.files]
        if verb == "auth-check":
            self._check_gate(repository)
            return {}
        if verb in ("", "revision"):
            return self._information(repository)
        raise RefusalError(HTTPStatus.NOT_FOUND)

    def _information(self, repository: Repository) -> dict[str, Any]:
        entries = [repository.entry(name) for name in repository.files]
        return {
            "_id": repository.commit[:24],
            "id": repository.name,
            "sha": repository.commit,
            "private": repository.name in self.hub.private,
            "gated": "manual" if repository.name in self.hub.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [
                {
                    "rfilename": e["path"],
                    "size": self.hub.sizes.get(e["path"], e["size"]),
                    "blobId": e["oid"],
                }
                for e in entries
            ],
        }

    def _file(self, repository: Repository, match: re.Match[str]) -> None:
        name = match["path"]
        self._check_gate(repository)
        self._check_revision(repository, match["revision"])
        if name not in repository.files:
            raise RefusalError(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        content = repository.files[name].read_bytes()
        headers = {
            "X-Repo-Commit": repository.commit,
            "Accept-Ranges": "bytes",
            "ETag": f'"{repository.hashes[name]}"',
        }
        if name.endswith(LARGE) and match["how"] == "resolve":
            headers |= {
                "X-Linked-Etag": f'"{repository.hashes[name]}"',
                "X-Linked-Size": str(len(content)),
                "Location": self.hub.url + self.path.replace("/resolve/", "/cdn/", 1),
            }
            self._send(HTTPStatus.FOUND, b"", headers)
            return
        self._part(content, headers)

    def _part(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(HTTPStatus.OK, content, headers)
            return
        start = int(wanted[1])
        if start >= len(content):
            raise RefusalError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        part = content[start : int(wanted[2]) + 1 if wanted[2] else None]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, part, headers)

    def _json(self, value: Any) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, refusal: RefusalError) -> None:
        headers = {"X-Error-Message": refusal.message, "Content-Type": "application/json"}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        self._send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def cached(folder: Path, cache: Path, name: str) -> Path:
    """A folder as huggingface_hub leaves it in a cache; returns the snapshot.

    Files are blobs named by their hashes, and a snapshot has links to them under their names.
    """
    repository = Repository("models", name, folder)
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / repository.commit
    (place / "blobs").mkdir(parents=True)
    for file, path in repository.files.items():
        blob = place / "blobs" / repository.hashes[file]
        blob.write_bytes(path.read_bytes())
        link = snapshot / file
        link.parent.mkdir(parents=True, exist_ok=True)
        up = Path(*[".."] * (2 + file.count("/")))
        link.symlink_to(up / "blobs" / blob.name)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(repository.commit)
    return snapshot


@contextmanager
def serve(root: Path) -> Iterator[Hub]:
    """Serve the repositories below `root` on a free port of the loopback interface."""
    hub = Hub(root)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
