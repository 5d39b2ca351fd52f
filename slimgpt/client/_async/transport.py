"""Sends requests: errors as exceptions, repeated where that is safe, redirects to object stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from slimgpt.client.errors import ClientError, UnreachableError
from slimgpt.client.requests import (
    TIMEOUT_SECONDS,
    Request,
    Service,
    error_of,
    is_loopback,
    json_of,
    pause,
    reachable,
    worth_repeating,
)


class AsyncTransport:
    """Requests to one service.

    Args:
        service: its address and the key.
        retries: how often a request is sent again.
        timeout: seconds to wait for each part of an answer.

    Raises (all methods):
        UnreachableError: the service does not answer.
        ProblemError: it answered with an error.
        ClientError: the address is not one, or what answers there is another service.
    """

    def __init__(self, service: Service, retries: int, timeout: float) -> None:
        self.url = service.url
        self.retries = retries
        self._http = httpx.AsyncClient(**service.options, timeout=timeout)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def json(self, request: Request) -> Any:
        """The JSON answer."""
        async with self.open(request) as response:
            await response.aread()
            return json_of(response)

    async def text(self, request: Request) -> str:
        """The answer as text; empty if it has none."""
        async with self.open(request) as response:
            await response.aread()
            return response.text

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[httpx.Response]:
        """The answer, its body not read yet; failures while it is read are exceptions, too."""
        response = await self._sent(request)
        try:
            with reachable(self.url):
                yield response
        finally:
            await response.aclose()

    @asynccontextmanager
    async def file(
        self, request: Request, elsewhere: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """The answer, or that of the object store to which the service redirects.

        Args:
            elsewhere: the headers for the object store, which is not sent the API key.
        """
        async with self.open(request) as response:
            if not response.has_redirect_location:
                yield response
                return
            address = str(response.url.join(response.headers["Location"]))
        async with _elsewhere(address, elsewhere) as response:
            yield response

    async def _sent(self, request: Request) -> httpx.Response:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + self.retries),
            wait=pause,
            retry=retry_if_exception(lambda error: worth_repeating(request, error)),
            reraise=True,
        )
        response: httpx.Response = await retrying(self._once, request)
        return response

    async def _once(self, request: Request) -> httpx.Response:
        with reachable(self.url):
            made = self._http.build_request(request.method, request.url, **request.options)
            response = await self._http.send(made, stream=True)
            if not response.is_error:
                return response
            try:
                await response.aread()
            finally:
                await response.aclose()
        raise error_of(response)


@asynccontextmanager
async def _elsewhere(address: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
    """The response of an object store; its address has a signature, which is not shown."""
    host = httpx.URL(address).netloc.decode()
    options: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "trust_env": not is_loopback(address)}
    try:
        async with (
            httpx.AsyncClient(**options) as http,
            http.stream("GET", address, headers=headers) as response,
        ):
            if not response.is_success:
                said = f"{response.status_code} {response.reason_phrase}"
                raise ClientError(f"the object store at {host} answered {said}")
            yield response
    except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"the object store at {host} cannot be reached: {reason}") from error
