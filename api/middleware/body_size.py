"""Request body size limit, declared or streamed (413).

Starlette's limit is not used: its response to a large Content-Length is plain text.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem, document


class BodySizeLimit:
    """ASGI middleware that refuses larger bodies with 413.

    Args:
        max_bytes: limit of all other routes.
        larger: limits of single routes, by method and path (without parameters).
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, larger: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        most = self.larger.get(route, self.max_bytes)
        too_large = Problem(
            "body-too-large",
            f"the body is larger than {most} bytes",
            headers={"Connection": "close"},
        )
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            await document(scope["path"], too_large)(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise too_large
            return message

        await self.app(scope, limited, send)
