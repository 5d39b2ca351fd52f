"""Refuses requests with ambiguous message framing (request smuggling).

The server reads such a body by its chunks. A proxy in front of it that uses Content-Length would
see another end of the body, and part of it as another request (RFC 9112, section 6.3).
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import Problem, document


class MessageFraming:
    """ASGI middleware: 400 and a closed connection for a request with two lengths."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "transfer-encoding" in headers and "content-length" in headers:
                detail = "both Content-Length and Transfer-Encoding are given; send one of them"
                refusal = Problem("malformed-request", detail, headers={"Connection": "close"})
                await document(scope["path"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)
