"""Serves the dashboard: `/` and its static files.

They hold no data and are open without a key: scripts in the page ask the API, with the key that
the visitor gave. What the API answers comes from strangers (names, labels, errors), so the page may
run no script and load nothing but its own files, and cannot be framed.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http.in_memory_files import InMemoryFiles

FILES = Path(__file__).with_name("static")
POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",  # asked for again after an update; unchanged it is a 304
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class DashboardFiles(InMemoryFiles):
    """Static files under the page's own policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 304; with the headers that protect the page."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # a websocket has nothing to ask here
            await super().__call__(scope, receive, send)


def install(app: FastAPI) -> None:
    """Serve the page and its files."""

    files = DashboardFiles(FILES)

    @app.get("/", include_in_schema=False)
    @app.head("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.mount("/static", files, name="static")
