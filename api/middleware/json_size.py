"""What a JSON body holds is counted while it comes, before anything parses or validates it.

A body of a MiB can hold hundreds of thousands of values, and a fault in each: validating them, and
telling of the faults, would keep everybody waiting for seconds. The largest body that any route
takes holds a few thousand.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem
from slimgpt.texts.json_limits import JsonCount, JsonLimits, TooMuchJson

LIMITS = JsonLimits(values=16_384, keys=512, depth=16, string_bytes=32 << 10)


class JsonSizeLimit:
    """ASGI middleware that refuses a JSON body that holds too much, with 413 or 400.

    Whatever might be taken for JSON is counted, by whichever route it is read.

    Args:
        apart: routes whose bodies are no JSON and are checked by themselves: method and path.
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
    if b"\0" in content:  # in UTF-16 and UTF-32 as well, in which nothing here could be counted
        raise Problem("malformed-request", "the body cannot be read as JSON in UTF-8")
    try:
        count.feed(content)
    except TooMuchJson as error:
        kind = "malformed-request" if error.odd else "body-too-large"
        raise Problem(kind, f"the body {error}") from error
