"""Sends requests: errors as exceptions, repeated where that is safe, redirects to object stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt

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


class Transport:
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
        self._http = httpx.Client(**service.options, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(self, request: Request) -> Any:
        """The JSON answer."""
        with self.open(request) as response:
            response.read()
            return json_of(response)

    def text(self, request: Request) -> str:
        """The answer as text; empty if it has none."""
        with self.open(request) as response:
            response.read()
            return response.text

    @contextmanager
    def open(self, request: Request) -> Iterator[httpx.Response]:
        """The answer, its body not read yet; failures while it is read are exceptions, too."""
        response = self._sent(request)
        try:
            with reachable(self.url):
                yield response
        finally:
            response.close()

    @contextmanager
    def file(self, request: Request, elsewhere: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The answer, or that of the object store to which the service redirects.

        Args:
            elsewhere: the headers for the object store, which is not sent the API key.
        """
        with self.open(request) as response:
            if not response.has_redirect_location:
                yield response
                return
            address = str(response.url.join(response.headers["Location"]))
        with _elsewhere(address, elsewhere) as response:
            yield response

    def _sent(self, request: Request) -> httpx.Response:
        retrying = Retrying(
            stop=stop_after_attempt(1 + self.retries),
            wait=pause,
            retry=retry_if_exception(lambda error: worth_repeating(request, error)),
            reraise=True,
        )
        response: httpx.Response = retrying(self._once, request)
        return response

    def _once(self, request: Request) -> httpx.Response:
        with reachable(self.url):
            made = self._http.build_request(request.method, request.url, **request.options)
            response = self._http.send(made, stream=True)
            if not response.is_error:
                return response
            try:
                response.read()
            finally:
                response.close()
        raise error_of(response)


@contextmanager
def _elsewhere(address: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """The response of an object store; its address has a signature, which is not shown."""
    host = httpx.URL(address).netloc.decode()
    options: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "trust_env": not is_loopback(address)}
    try:
        with (
            httpx.Client(**options) as http,
            http.stream("GET", address, headers=headers) as response,
        ):
            if not response.is_success:
                said = f"{response.status_code} {response.reason_phrase}"
                raise ClientError(f"the object store at {host} answered {said}")
            yield response
    except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"the object store at {host} cannot be reached: {reason}") from error
