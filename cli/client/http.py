"""`Service`: the HTTP client of the API, with errors as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

from cli.options.groups import option
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    import httpx  # slow to import: imported where it is used

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30.0
STORE_SECONDS = 600.0
"""Timeout of uploads: the response comes when the whole text is stored."""


class ServiceError(Exception):
    """The service refused, or cannot be reached; the message is one line for people."""


class UnreachableError(ServiceError):
    """The service did not answer; the request can be repeated later."""


class Service:
    """Requests to one service.

    Raises (all methods):
        UnreachableError: the service does not answer, or asks to try again later.
        ServiceError: the service answered with a problem document.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    @property
    def url(self) -> str:
        """Address of the service, without a slash at the end."""
        return str(self._http.base_url).rstrip("/")

    def get(self, path: str, **params: Any) -> Any:
        """The JSON document at `path`; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        with self.stream(path, params=given) as response:
            return _json(response)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        """Post `body` as JSON; the JSON answer."""
        return _json(self._answer("POST", path, json=body, headers=headers))

    def send(
        self, path: str, content: Iterator[bytes], headers: dict[str, str], **params: Any
    ) -> Any:
        """Post a body as it is; the JSON answer. Parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        body = {"content": content, "headers": headers, "params": given}
        return _json(self._answer("POST", path, timeout=STORE_SECONDS, **body))

    def delete(self, path: str) -> None:
        """Remove what is at `path`."""
        self._answer("DELETE", path)

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        with _reachable(self.url):
            response = self._http.request(method, path, **options)
        _refuse_problem(response)
        return response

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """The answer to GET `path`, its body not read yet."""
        with _reachable(self.url), self._http.stream("GET", path, **options) as response:
            if response.is_error:
                response.read()
                _refuse_problem(response)
            yield response

    @contextmanager
    def file(self, path: str, start: int, etag: str) -> Iterator[httpx.Response]:
        """The response to GET `path` from byte `start` on, following a redirect to an object store.

        Args:
            start: 0 for the whole file; a response with status 200 has the whole file, too.
            etag: of the file at the service.
        """
        headers = {"Accept-Encoding": "identity"}  # ranges count the file's own bytes
        if start:
            headers |= {"Range": f"bytes={start}-"}
        own = headers | ({"If-Range": f'"{etag}"'} if start else {})
        with self.stream(path, headers=own) as response:
            if not response.has_redirect_location:
                yield response
                return
            address = str(response.url.join(response.headers["Location"]))
        with _elsewhere(address, headers) as response:
            yield response


@contextmanager
def _elsewhere(address: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The response of an object store; the API key is not sent there, and links are not shown."""
    import httpx

    host = httpx.URL(address).netloc.decode()
    transport = httpx.HTTPTransport(retries=1) if _is_loopback(address) else None
    try:
        with (
            httpx.Client(timeout=TIMEOUT_SECONDS, transport=transport) as http,
            http.stream("GET", address, headers=headers) as response,
        ):
            if not response.is_success:
                said = f"{response.status_code} {response.reason_phrase}"
                raise ServiceError(f"the object store at {host} answered {said}")
            yield response
    except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"the object store at {host} cannot be reached: {reason}") from error


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which service a command talks to, and with which key."""

    url: Annotated[str, option("--url", "Address of the service.", envvar="SLIMGPT_URL")] = (
        DEFAULT_URL
    )
    api_key: Annotated[
        str | None,
        option(
            "--api-key",
            "Key of a service that requires one; in the variable, it does not show in "
            "lists of processes.",
            envvar="SLIMGPT_API_KEY",
        ),
    ] = field(default=None, repr=False)

    @contextmanager
    def open(self) -> Iterator[Service]:
        """The service for the length of a command; its errors end the command with status 1."""
        import httpx

        headers = _credentials(self.api_key)
        try:
            # Proxies of the environment are not used for this machine.
            transport = httpx.HTTPTransport(retries=1) if _is_loopback(self.url) else None
            with httpx.Client(
                base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS, transport=transport
            ) as http:
                yield Service(http)
        except ServiceError as error:
            fail(str(error))
        except httpx.InvalidURL as error:
            fail(f"{self.url!r} is not an address: {error}")


def _credentials(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        fail("the API key has invalid characters; keys look like slim_…")
    return {"Authorization": f"Bearer {api_key}"}


def _is_loopback(url: str) -> bool:
    import httpx

    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise ServiceError(f"{url!r} is not an http address: {error}") from error
    except httpx.ConnectError as error:
        hint = "start one with `slimgpt up`, or give its address with --url"
        raise UnreachableError(f"no service answers at {url} ({error}); {hint}") from error
    except httpx.TransportError as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"the connection to {url} failed: {reason}") from error


def _json(response: httpx.Response) -> Any:
    try:
        response.read()
        return response.json()
    except ValueError as error:
        message = f"{response.request.url} did not answer with JSON; is it a SlimGPT service?"
        raise ServiceError(message) from error


def _refuse_problem(response: httpx.Response) -> None:
    """Raise an error response as an exception with a one-line message."""
    if not response.is_error:
        return
    try:
        problem = response.json()
        said = str(problem.get("detail") or problem["title"])
    except (ValueError, AttributeError, KeyError, TypeError):
        said = f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
    if response.status_code == 401:
        said += "; give a key with --api-key or SLIMGPT_API_KEY"
    error = UnreachableError if response.status_code in (429, 502, 503, 504) else ServiceError
    raise error(" ".join(said.split()))
