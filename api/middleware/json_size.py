"""Limits on the values in a JSON body, counted while it is received, before it is parsed.

A body of 1 MiB can have hundreds of thousands of invalid values, whose validation would block other
requests for seconds. The largest valid body of any route has a few thousand values.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem
from slimgpt.texts.json_limits import JsonCount, JsonLimits, TooMuchJson

LIMITS = JsonLimits(values=16_384, keys=512, depth=16, string_bytes=32 << 10)


class JsonSizeLimit:
    """ASGI middleware that refuses a JSON body with too many values, with 413 or 400.

    Args:
        apart: exempt routes, by method and path; their bodies are not JSON.
    """

    def __init__(self, app: ASGIApp, apart: Collection[tuple[str, str]] = ()) -> None:
        self.app = app
        self.apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._counts(scope):
            await self.app(scope, receive, send)
            return
        count = JsonCount(LIMITS)

        async def counted() -> Message:
            message = await receive()
            _count(count, message.get("body", b""))
            return message

        await self.app(scope, counted, send)

    def _counts(self, scope: Scope) -> bool:
        route = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        declared = Headers(scope=scope).getlist("content-type")
        return route not in self.apart and any("json" in kind.lower() for kind in declared)


def _count(count: JsonCount, content: bytes) -> None:
    if b"\0" in content:  # also UTF-16 and UTF-32, which cannot be counted here
        raise Problem("malformed-request", "the body cannot be read as JSON in UTF-8")
    try:
        count.feed(content)
    except TooMuchJson as error:
        kind = "malformed-request" if error.odd else "body-too-large"
        raise Problem(kind, f"the body {error}") from error
