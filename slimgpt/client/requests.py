"""Requests to the API, the same for the synchronous and the asynchronous client."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpx
from tenacity import RetryCallState

from slimgpt.client.errors import (
    ClientError,
    TooManyRequestsError,
    UnavailableError,
    UnreachableError,
    problem_error,
)

DEFAULT_URL = "http://127.0.0.1:8000"
VERSION = "/v1"
TIMEOUT_SECONDS = 30.0
STORE_SECONDS = 600.0
"""Timeout of uploads: the response comes when the whole text is stored."""
RETRIES = 4
LONGEST_WAIT_SECONDS = 30.0
ENVIRONMENT = ("SLIMGPT_URL", "SLIMGPT_API_KEY")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        path: below the version of the API, or of the service if not `versioned`.
        params: of the query; those that are None are left out.
        content: makes a body that is not JSON, for each time it is sent.
        repeatable: sent twice, it does no more than sent once.
        timeout: seconds to wait for each part of the answer; None: the client's.
    """

    method: str = "GET"
    path: str
    versioned: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: Callable[[], Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    timeout: float | None = None

    @property
    def url(self) -> str:
        """The path below the service's address."""
        return f"{VERSION if self.versioned else ''}{self.path}"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `httpx.Client.build_request` beside method and URL."""
        given = {name: value for name, value in self.params.items() if value is not None}
        own = {} if self.timeout is None else {"timeout": self.timeout}
        body = {} if self.content is None else {"content": self.content()}
        if self.json is not None:
            body = {"json": self.json}
        return {"params": given, "headers": self.headers, **own, **body}


@dataclass(frozen=True)
class Service:
    """Where the service is, and what every request to it has.

    Raises:
        ClientError: the key has characters that no key has.
    """

    url: str
    api_key: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str | None, api_key: str | None) -> Service:
        """What is not given is read from SLIMGPT_URL and SLIMGPT_API_KEY."""
        place, secret = (os.environ.get(name) for name in ENVIRONMENT)
        return cls((url or place or DEFAULT_URL).rstrip("/"), api_key or secret or None)

    def __post_init__(self) -> None:
        key = self.api_key or "slim"
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ClientError("the API key has invalid characters; keys look like slim_…")

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `httpx.Client`.

        Raises:
            ClientError: the address is not one.
        """
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"base_url": f"{self.url}", "headers": headers, "trust_env": self._proxied}

    @property
    def _proxied(self) -> bool:
        """Whether proxies of the environment are used, which they are not for this machine."""
        return not is_loopback(self.url)


def is_loopback(url: str) -> bool:
    """Whether the address is of this machine.

    Raises:
        ClientError: it is not an address.
    """
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise ClientError(f"{url!r} is not an address: {error}") from error
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Failures of the connection as exceptions of this package."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ClientError(f"{url!r} is not an http address: {error}") from error
    except httpx.ConnectError as error:
        hint = "start one with `slimgpt up`, or give another address"
        raise UnreachableError(f"no service answers at {url} ({error}); {hint}") from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"the connection to {url} failed: {reason}") from error


def error_of(response: httpx.Response) -> ClientError:
    """The exception for an error response whose body has been read."""
    try:
        body = response.json()
    except ValueError:
        body = None
    after = response.headers.get("Retry-After", "")
    return problem_error(response.status_code, str(response.request.url), body, after)


def json_of(response: httpx.Response) -> Any:
    """The JSON of a response whose body has been read.

    Raises:
        ClientError: it is not JSON.
    """
    try:
        return response.json()
    except ValueError as error:
        message = f"{response.request.url} did not answer with JSON; is it a SlimGPT service?"
        raise ClientError(message) from error


def worth_repeating(request: Request, error: BaseException) -> bool:
    """Whether to send a request again.

    One that may not be repeated is sent again only if the service cannot have begun with it: there
    was no connection, or a limit kept it out.
    """
    if isinstance(error, TooManyRequestsError):
        return (error.retry_after or 0.0) <= LONGEST_WAIT_SECONDS  # a quota: said at once
    if isinstance(error, UnreachableError):
        return request.repeatable or isinstance(error.__cause__, httpx.ConnectError)
    return request.repeatable and isinstance(error, UnavailableError)


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the service asked for, else 0.5, 1, 2, … with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked: float | None = getattr(error, "retry_after", None)
    own = 0.5 * 2 ** (state.attempt_number - 1) * random.uniform(0.75, 1.25)
    return min(own if asked is None else asked, LONGEST_WAIT_SECONDS)
