"""Lets responses sent before the end of a request body reach the client.

If a server responds and closes the connection while the client still sends, the client's TCP stack
discards the response: users see "connection reset" instead of "line 3 is not JSON". So the response
is sent at once, and the rest of the body is read and dropped, up to a limit (RFC 9112, 9.6).
"""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 2.0
"""Longest wait for more of the body."""
LINGER_BYTES = 64 << 20


class EarlyResponse:
    """ASGI middleware that reads the rest of a body after an early response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        # A client with `Expect: 100-continue` sends nothing after a final response.
        over = "expect" in Headers(scope=scope)
        whole = False

        async def watched() -> Message:
            nonlocal over
            message = await receive()
            over = not message.get("more_body", False)
            return message

        async def lingering(message: Message) -> None:
            nonlocal whole
            if message["type"] == "http.response.start":
                whole = "content-length" in Headers(raw=message["headers"])
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if over or not last or not whole:
                await send(message)
                return
            await send(
                {**message, "more_body": True}
            )  # complete for the client: it knows the length
            await _drop(watched)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app(scope, watched, lingering)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _drop(receive: Receive) -> None:
    dropped = 0
    while dropped < LINGER_BYTES:
        with anyio.move_on_after(LINGER_SECONDS) as waiting:
            message = await receive()
        if waiting.cancelled_caught or not message.get("more_body", False):
            return
        dropped += len(message.get("body", b""))
