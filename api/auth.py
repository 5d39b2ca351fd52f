"""Who asks: every request needs an API key, save those for what anyone may read.

`Gate` stands before the application, so an address that somebody adds is closed until `OPEN`
names it, and a body is not even read of those who may not send one. `Caller` tells a route
whose jobs to show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem, document
from api.middleware.rate_limit import RateStatus, of_address
from api.services import Services
from jobs.metrics.exposition import admits
from jobs.settings import BadSettings, Settings
from jobs.store.keys import BadKeyRequest, require_pepper

LOCAL_OWNER = "local"
REALM = 'Bearer realm="slimgpt"'
OPEN = re.compile(
    r"/|/static/((pages|parts)/)?[^/]*|/healthz|/readyz|/docs|/openapi\.json|/problems/[^/]*"
    r"|/static-offline-docs/.*|/favicon\.ico"
)
METRICS = "/metrics"
ALIVE = "/healthz"
"""Not counted: a probe must not fail for others' sake."""
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::\d*)?")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who asks: an owner of jobs, and whether all jobs are theirs to see."""

    owner: str
    admin: bool = False
    key_id: str | None = None

    @property
    def scope(self) -> str | None:
        """The one owner whose jobs they see; None: everybody's."""
        return None if self.admin else self.owner

    def sees(self, owner: str) -> bool:
        """Whether that owner's jobs are theirs to see."""
        return self.admin or owner == self.owner


NOBODY = Identity(LOCAL_OWNER, admin=True)
"""Who asks where nobody is asked who they are: the machine's user, whose jobs are all there are."""
SCRAPER = Identity("metrics", admin=True, key_id="metrics")
"""Who has the token of metrics, and may read them alone."""


def is_open(path: str) -> bool:
    """Whether anyone may read what is at this path."""
    return OPEN.fullmatch(path) is not None


def check(settings: Settings) -> None:
    """Refuse to serve strangers without keys.

    Raises:
        BadSettings: keys are off for more than this machine, or cannot be checked.
    """
    if settings.auth == "off":
        if not settings.loopback_only:
            raise BadSettings(
                "SLIMGPT_AUTH: off needs SLIMGPT_LOOPBACK_ONLY=true, because whoever can reach "
                "the API could use it; without it, use SLIMGPT_AUTH=keys"
            )
        return
    try:
        require_pepper(settings.key_pepper.get_secret_value())
    except BadKeyRequest as error:
        raise BadSettings(str(error)) from error


class LoopbackOnly:
    """ASGI middleware that refuses requests from other machines, those that name this one
    otherwise than by a loopback address, and those of other sites' pages: in a browser here a page
    could have its own host name resolve to 127.0.0.1 (DNS rebinding), or post a form without
    reading the answer, and so ask as if it were the user."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = (scope.get("client") or ("",))[0]
            host = Headers(scope=scope).get("host", "")
            origin = Headers(scope=scope).get("origin", f"http://{host}")
            local = _names_loopback(host) and _names_loopback(origin.partition("://")[2])
            if not (_is_loopback(peer) and local):
                log.warning("not local", peer=peer, host=host[:256], origin=origin[:256])
                refusal = Problem("not-local", "this service answers its own machine only")
                await document(scope["path"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Gate:
    """ASGI middleware that knows who asks before anything is read or done."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _path(scope) == ALIVE:
            await self.app(scope, receive, send)
            return
        try:
            caller, rate_status = await _admit(scope)
        except Problem as refusal:
            await document(scope["path"], refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller

        async def told(message: Message) -> None:
            if rate_status is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(rate_status.headers)
            await send(message)

        await self.app(scope, receive, told)


async def _admit(scope: Scope) -> tuple[Identity | None, RateStatus | None]:
    """Who asks, None for what anyone may read; and how they stand with their limit, if counted.

    Without a valid key the address counts, so that guessing is limited as well.

    Raises:
        Problem: 401, 429 or 503.
    """
    rate = _services(scope).rate
    path = _path(scope)
    if rate is None:
        return await _identify(scope, path), None
    who = of_address((scope.get("client") or ("",))[0])
    try:
        caller = await _identify(scope, path)
    except Problem as refusal:
        if refusal.status_code == 401:
            _require_allowed(await rate.count(who))
        raise
    rate_status = await rate.count(who if caller is None else str(caller.key_id))
    _require_allowed(rate_status)
    return caller, rate_status


def _path(scope: Scope) -> str:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path


def _require_allowed(rate_status: RateStatus) -> None:
    if not rate_status.allowed:
        detail = f"more than {rate_status.most} requests in a minute"
        raise Problem("too-many-requests", detail, headers=rate_status.headers)


def _services(scope: Scope) -> Services:
    services: Services = scope["app"].state.services
    return services


async def _identify(scope: Scope, path: str) -> Identity | None:
    """Who asks; None for what anyone may read. A thread is used for a key alone, which needs the
    database: all threads may be waiting for one that hangs.

    Raises:
        Problem: 401, no key or one that is not valid; 503, the database does not answer.
    """
    if is_open(path):
        return None
    keys = _services(scope).keys
    if keys is None:
        return NOBODY
    text = _bearer(Headers(scope=scope).getlist("authorization"))
    if path == METRICS and admits(_services(scope).settings, text):
        return SCRAPER  # without the database, which may be what is to be measured
    try:
        key = await run_in_threadpool(keys.find, text)
    except (OperationalError, PoolTimeoutError) as error:
        log.error("database unavailable", path=scope["path"], error=type(error).__name__)
        detail = "the database does not answer; try again"
        raise Problem("unavailable", detail, headers={"Retry-After": "5"}) from error
    if key is None:
        challenge = f'{REALM}, error="invalid_token"'
        raise Problem("unauthorized", "the API key is not valid, or was revoked",
                      headers={"WWW-Authenticate": challenge})  # fmt: skip
    return Identity(key.owner, key.admin, key.id)


def _bearer(headers: list[str]) -> str:
    """The key in the request's only `Authorization` header.

    Raises:
        Problem: there is none.
    """
    scheme, _, text = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        detail = "send an API key: Authorization: Bearer slim_…"
        raise Problem("unauthorized", detail, headers={"WWW-Authenticate": REALM})
    return text.strip(" ")


def _names_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    return name == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def _caller(request: Request) -> Identity:
    caller: Identity = request.state.caller
    return caller


Caller = Annotated[Identity, Depends(_caller)]
