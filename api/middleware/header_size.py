"""Request header size limit (431).

Above twice the limit, uvicorn's parser closes the connection before the application is called.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import Problem, document

MAX_HEADER_BYTES = 8192


class HeaderSizeLimit:
    """ASGI middleware that refuses a URL and headers above `max_bytes` with 431."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_HEADER_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
            if headers + len(scope["raw_path"]) + len(scope["query_string"]) > self.max_bytes:
                detail = f"the URL and the headers are larger than {self.max_bytes} bytes"
                refusal = Problem("headers-too-large", detail, headers={"Connection": "close"})
                await document("/", refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)
