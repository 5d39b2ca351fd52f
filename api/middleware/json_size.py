"""What a JSON body holds is counted while it comes, before anything parses or validates it.

A body of a MiB can hold hundreds of thousands of values, and a fault in each: validating them, and
telling of the faults, would keep everybody waiting for seconds. The largest body that any route
takes holds a few thousand.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem
from slimgpt.texts.json_limits import JsonCount, JsonLimits, TooMuchJson

LIMITS = JsonLimits(values=16_384, keys=512, depth=16, string_bytes=32 << 10)


class JsonSizeLimit:
    """ASGI middleware that refuses a JSON body that holds too much, with 413 or 400.

    Whatever might be taken for JSON is counted, by whichever route it is read.
    """

    def __init__(self, app: ASGIApp, limits: JsonLimits = LIMITS) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_be_json(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        count = JsonCount(self.limits)

        async def counted() -> Message:
            message = await receive()
            _count(count, message.get("body", b""))
            return message

        await self.app(scope, counted, send)


def _may_be_json(headers: Headers) -> bool:
    return any("json" in text.lower() for text in headers.getlist("content-type"))


def _count(count: JsonCount, content: bytes) -> None:
    if b"\0" in content:  # in UTF-16 and UTF-32 as well, in which nothing here could be counted
        raise Problem("malformed-request", "the body cannot be read as JSON in UTF-8")
    try:
        count.feed(content)
    except TooMuchJson as error:
        kind = "malformed-request" if error.odd else "body-too-large"
        raise Problem(kind, f"the body {error}") from error
