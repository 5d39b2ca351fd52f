"""Authentication: API keys on every request except public paths, loopback check.

`ApiKeyAuth` is middleware: a new route needs a key unless `OPEN` lists its path, and the body of an
unauthenticated request is not read. `Caller` is the dependency of routes that need the owner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Annotated

import structlog
from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import Problem, document, of_database
from api.middleware.rate_limit import RateStatus, of_address
from api.services import Services
from jobs.metrics.exposition import admits
from jobs.settings import BadSettings, Settings
from jobs.store.keys import BadKeyRequest, require_pepper

LOCAL_OWNER = "local"
REALM = 'Bearer realm="slimgpt"'
OPEN = re.compile(
    r"/|/static/((cards|compare|form|list|pages|parts|vendor)/)?[^/]*|/healthz|/readyz|/docs"
    r"|/openapi\.json|/problems/[^/]*|/static-offline-docs/.*|/favicon\.ico|/help(/.*)?"
)
METRICS = "/metrics"
ALIVE = "/healthz"
"""Not rate-limited: the liveness probe must not fail because of other clients."""
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::\d*)?")
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^:/@\[\]]+)(?::([0-9]{1,5}))?")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """The caller: an owner of jobs, and whether they see the jobs of all owners."""

    owner: str
    admin: bool = False
    key_id: str | None = None

    @property
    def scope(self) -> str | None:
        """The owner whose jobs the caller sees; None: all owners."""
        return None if self.admin else self.owner

    def sees(self, owner: str) -> bool:
        """Whether the caller sees that owner's jobs."""
        return self.admin or owner == self.owner


ANONYMOUS = Identity(LOCAL_OWNER, admin=True)
"""The caller where no key is required: the machine's user, who owns all jobs."""
SCRAPER = Identity("metrics", admin=True, key_id="metrics")
"""The caller with the metrics token, who may read only metrics."""


def is_open(path: str) -> bool:
    """Whether the path needs no key."""
    return OPEN.fullmatch(path) is not None


def check(settings: Settings) -> None:
    """Refuse settings without keys, except for a service that only this machine can use.

    Raises:
        BadSettings: keys are off without `loopback_only`, or cannot be checked.
    """
    if settings.auth == "off":
        if not settings.loopback_only:
            raise BadSettings(
                "SLIMGPT_AUTH: off needs SLIMGPT_LOOPBACK_ONLY=true, because otherwise everyone "
                "who can reach the API could use it; set that, or SLIMGPT_AUTH=keys"
            )
        return
    try:
        require_pepper(settings.key_pepper.get_secret_value())
    except BadKeyRequest as error:
        raise BadSettings(str(error)) from error


class LoopbackOnly:
    """ASGI middleware that accepts requests from this machine only.

    It also refuses a `Host` that is not a loopback address (DNS rebinding), and requests by pages
    of another origin (CSRF). A page on another port of this machine is another origin, too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = (scope.get("client") or ("",))[0]
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            own = _names_loopback(host) and _of_own_page(headers, f"{scope['scheme']}://{host}")
            if not (_is_loopback(peer) and own):
                origin = headers.get("origin", "")[:256]
                log.warning("not local", peer=peer, host=host[:256], origin=origin)
                detail = "this service accepts requests from its own machine only"
                refusal = Problem("not-local", detail)
                await document(scope["path"], refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class ApiKeyAuth:
    """ASGI middleware that identifies the caller before the request is handled."""

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
    """The caller, None on a public path; and their rate limit, if requests are counted.

    Without a valid key the client's address is counted, which limits guessing.

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
        detail = f"the limit of {rate_status.most} requests per minute is reached"
        raise Problem("too-many-requests", detail, headers=rate_status.headers)


def _services(scope: Scope) -> Services:
    services: Services = scope["app"].state.services
    return services


async def _identify(scope: Scope, path: str) -> Identity | None:
    """The caller; None on a public path. Only a key's lookup needs a thread, because all threads
    may be waiting for a hanging database.

    Raises:
        Problem: 401, no key or one that is not valid; 503, the database does not answer.
    """
    if is_open(path):
        return None
    keys = _services(scope).keys
    if keys is None:
        return ANONYMOUS
    text = _bearer(Headers(scope=scope).getlist("authorization"))
    if path == METRICS and admits(_services(scope).settings, text):
        return SCRAPER  # works without the database
    try:
        key = await run_in_threadpool(keys.find, text)
    except (DBAPIError, PoolTimeoutError) as error:
        raise of_database(scope["path"], error) from error
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


def _of_own_page(headers: Headers, own: str) -> bool:
    """Whether the request is not from a page of another origin, by `Origin` and `Sec-Fetch-*`.

    Browsers send no `Origin` with requests for images and scripts, but `Sec-Fetch-Site`.
    """
    here = _origin(own)
    if here is None or any(_origin(said) != here for said in headers.getlist("origin")):
        return False
    navigates = headers.get("sec-fetch-mode") == "navigate"
    return navigates or headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin (RFC 6454); None if it is not one, such as `null`."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    return match[1], match[2], int(match[3] or (443 if match[1] == "https" else 80))


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
