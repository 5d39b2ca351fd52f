"""Static files served from memory, without a thread and without the disk.

Pages must load even if every thread waits for a hanging database. Starlette's `StaticFiles` reads
files on the shared threads.
"""

from __future__ import annotations

import hashlib
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.http.conditional import not_modified


class File(NamedTuple):
    """A file, ready to be sent."""

    content: bytes
    etag: str
    media_type: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """A file's content with what its name says of it."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, etag, guess_type(name)[0] or "application/octet-stream")

    def response(self, scope: Scope) -> Response:
        """The file, or 304 if the client has it."""
        headers = {"ETag": self.etag}
        if not_modified(Headers(scope=scope).get("if-none-match"), self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


class InMemoryFiles(StaticFiles):
    """The files below a folder, read when it is first used.

    Args:
        directory: of an installed package; a few megabytes.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self.config_checked = True  # the next line reads the folder
        self._files = _read(directory)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 304."""
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        file = self._files.get(path)
        if file is None:
            raise HTTPException(404)
        return file.response(scope)


@cache
def _read(directory: Path) -> dict[str, File]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {
        path.relative_to(directory).as_posix(): File.of(path.name, path.read_bytes())
        for path in files
    }
