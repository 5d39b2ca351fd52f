"""Serves the dashboard: `/` and its static files.

The files have no data and need no key: scripts in the page call the API with the visitor's key.
Responses of the API contain untrusted text (names, labels, errors), so the page's policy allows
only its own scripts and files, and no framing.
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
    "Cache-Control": "no-cache",  # revalidated on every use: 304 if unchanged
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class DashboardFiles(InMemoryFiles):
    """Static files with the dashboard's security headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 304, with the security headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":  # not a websocket
            await super().__call__(scope, receive, send)


def install(app: FastAPI) -> None:
    """Serve the page and its files."""

    files = DashboardFiles(FILES)

    @app.get("/", include_in_schema=False)
    @app.head("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.mount("/static", files, name="static")
