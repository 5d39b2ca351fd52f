"""Serves the manual at `/help/`, from `manual.zip` beside this file, if `make manual` has built it.

Its pages have no data and need no key. Their policy allows the site's own scripts and styles only,
by address or by hash; the archive names it.
"""

from __future__ import annotations

import zipfile
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.dashboard import HEADERS
from api.http.in_memory_files import File

ARCHIVE = Path(__file__).with_name("manual.zip")
POLICY = "content-security-policy"
NO_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>SlimGPT manual</title></head>
<body><h1>{heading}</h1><p>{text}</p></body></html>
"""
NOT_BUILT = NO_PAGE.format(
    heading="The manual is not built",
    text="This service runs from a checkout whose manual was not built. <code>make manual</code> "
    "builds it, without network; then start the service again. Until then "
    "the pages are in the folder <code>docs</code>, and <a href='/docs'>the API describes "
    "itself</a>.",
)
NOT_FOUND = NO_PAGE.format(
    heading="There is no such page",
    text="See <a href='/help/'>the manual's first page</a>, which has a search.",
)


@cache
def read(archive: Path) -> dict[str, File]:
    """The files of the site by their paths; none if it is not built."""
    if not archive.exists():
        return {}
    with zipfile.ZipFile(archive) as opened:
        return {name: File.of(name, opened.read(name)) for name in opened.namelist()}


def install(app: FastAPI, archive: Path | None = None) -> None:
    """Serve the site, or a page that says how to build it.

    Args:
        archive: the built site; None: the one beside this file.
    """
    files = read(archive or ARCHIVE)
    policy = files[POLICY].content.decode() if files else "default-src 'none'"

    @app.get("/help", include_in_schema=False)
    @app.head("/help", include_in_schema=False)
    async def bare() -> Response:
        return RedirectResponse("help/", 308)

    @app.get("/help/{path:path}", include_in_schema=False)
    @app.head("/help/{path:path}", include_in_schema=False)
    async def page(request: Request, path: str) -> Response:
        response = _answer(files, path, request)
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = policy
        return response


def _answer(files: dict[str, File], path: str, request: Request) -> Response:
    name = path + "index.html" if path == "" or path.endswith("/") else path
    if name in files and name != POLICY:
        return files[name].response(request.scope)
    if f"{path}/index.html" in files:
        return RedirectResponse(path.rpartition("/")[2] + "/", 308)
    return HTMLResponse(NOT_FOUND if files else NOT_BUILT, 404)
