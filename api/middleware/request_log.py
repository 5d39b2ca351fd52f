"""Request ids, access log and timing of every request.

The request id is the client's `X-Request-ID` if that is a plain token, else a generated one. It is
in the response, in problem documents and in each log entry of the request; the worker gets it
through Redis.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware.metrics import HttpMetrics
from jobs import request_id

QUIET = ("/healthz", "/readyz", "/metrics")
REFUSED = frozenset({401, 403, 413, 429, 431, 503})
LOGGED_PATH = 256
log = structlog.get_logger(__name__)


class RequestLog:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = request_id.bind(Headers(scope=scope).get(request_id.HEADER, ""))
        answer = _Answer(name, send)
        began = time.monotonic()
        metrics = _metrics(scope)
        metrics.running.inc()
        try:
            await self.app(scope, receive, answer.send)
        finally:
            # Without a response, an exception becomes a 500 outside this middleware.
            metrics.running.dec()
            seconds = (answer.ended or time.monotonic()) - began
            route = _route(scope, answer.status)
            timed = None if answer.stream else seconds
            metrics.count(scope["method"], route, answer.status, timed)
            _log(scope, route, answer.status, seconds)


class _Answer:
    """Sends a response with the request id in its headers, and records its status and end."""

    def __init__(self, name: str, send: Send) -> None:
        self._name, self._send = name, send
        self.status = 500
        self.stream = False
        self.ended = 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers[request_id.HEADER] = self._name
            self.status = message["status"]
            self.stream = headers.get("content-type", "").startswith("text/event-stream")
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended = time.monotonic()  # without background tasks


def _metrics(scope: Scope) -> HttpMetrics:
    metrics: HttpMetrics = scope["app"].state.services.http
    return metrics


def _route(scope: Scope, status: int) -> str:
    """The template of the route, of a mounted folder's files, `refused` or `unmatched`."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        return template
    mount: str = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    if mount:  # static files; Starlette sets no route for them
        return f"{mount}/{{path}}"
    return "refused" if status in REFUSED else "unmatched"


def _log(scope: Scope, route: str, status: int, seconds: float) -> None:
    """Log the request, without its query string, which may contain secrets."""
    caller: Any = scope.get("state", {}).get("caller")
    path = scope["path"]
    say = log.debug if path in QUIET and status < 400 else log.info
    say(
        "request",
        method=scope["method"][:16],
        route=route,
        path=path[:LOGGED_PATH],
        status=status,
        seconds=round(seconds, 4),
        key=getattr(caller, "key_id", None),
        peer=(scope.get("client") or ("",))[0],
    )
