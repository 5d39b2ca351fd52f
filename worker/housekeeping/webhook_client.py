"""`WebhookClient`: one HTTP POST to an untrusted webhook URL, with a deadline and a pinned address.

The connection goes to an IP address that was checked; TLS and `Host` use the name. The name is not
resolved again, so it cannot change in between (DNS rebinding). Redirects are not followed, and
proxies of the environment are not used. One deadline bounds everything, including name resolution
and slow responses, and only the first kilobytes of a response are read.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpcore
import httpx

from jobs.messages.webhook_urls import RESOLVE_SECONDS, InvalidWebhookUrl, WebhookUrls
from jobs.store.webhooks.records import DeliveryOutcome

MAX_READ = 4096  # bytes of the response body; only the status matters
BODY_SECONDS = 2.0
WRITE_BYTES = 4096
MAX_ADDRESSES = 4
MAX_RETRY_AFTER = 24 * 3600.0


class Deadline:
    """A point in time that bounds all steps of a request."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises:
            httpcore.TimeoutException: the deadline has passed.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise httpcore.ReadTimeout
        return seconds

    def shorten(self, seconds: float) -> None:
        """Move the deadline to `seconds` from now, if that is earlier."""
        self._at = min(self._at, time.monotonic() + seconds)


class TimedStream(httpcore.NetworkStream):
    """A network stream whose operations all end at one deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITE_BYTES):
            self._stream.write(buffer[start : start + WRITE_BYTES], self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class CheckedBackend(httpcore.NetworkBackend):
    """Connects only to addresses that `WebhookUrls` allows."""

    def __init__(self, urls: WebhookUrls, deadline: Deadline) -> None:
        self._urls = urls
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        patience = min(RESOLVE_SECONDS, self._deadline.left())
        addresses = self._urls.addresses(host, port, patience)[:MAX_ADDRESSES]
        for number, address in enumerate(addresses):
            share = self._deadline.left() / (len(addresses) - number)
            try:
                stream = self._sockets.connect_tcp(address, port, share, None, socket_options)
                return TimedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses) - 1:
                    raise
        raise httpcore.ConnectError


class WebhookClient:
    """Sends each POST on its own connection.

    Args:
        urls: validates URLs and resolves hosts.
        seconds: time limit of one POST.
        tls: TLS settings; None: the default authorities, or those of `SSL_CERT_FILE`.
    """

    def __init__(
        self, urls: WebhookUrls, seconds: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._urls = urls
        self._seconds = seconds
        self._tls = tls or httpx.create_ssl_context()
        self._agent = f"SlimGPT/{version('slimgpt-service')}"

    def post(self, address: str, body: bytes, headers: Mapping[str, str]) -> DeliveryOutcome:
        """POST a JSON document. Failures are part of the outcome and never raised."""
        at, started = datetime.now(UTC), time.monotonic()
        status = error = retry_after = None
        try:
            status, retry_after = self._post(address, body, headers)
            error = _status_error(status)
        except InvalidWebhookUrl as refusal:
            error = str(refusal)
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as fault:
            error = _network_error(fault, self._seconds)
        return DeliveryOutcome(at, time.monotonic() - started, status, error, retry_after)

    def _post(
        self, address: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, float | None]:
        """The response status, and the seconds of its `Retry-After`."""
        url = self._urls.url(address)
        sent = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            "Connection": "close",
            **headers,
        }
        deadline = Deadline(self._seconds)
        where = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        backend = CheckedBackend(self._urls, deadline)
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream("POST", where, headers=list(sent.items()), content=body) as response,
        ):
            deadline.shorten(BODY_SECONDS)
            with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
                _read_some(response)
            return response.status, _retry_after(response)


def _read_some(response: httpcore.Response) -> None:
    """Read a short body to its end, so that the receiver can finish; stop in a long one."""
    read = 0
    for chunk in response.iter_stream():
        read += len(chunk)
        if read >= MAX_READ:
            return


def _retry_after(response: httpcore.Response) -> float | None:
    """The seconds of `Retry-After` on 429, 502, 503 and 504, at most a day (RFC 9110, 10.2.3)."""
    if response.status not in (429, 502, 503, 504):
        return None
    given = [value for name, value in response.headers if name.lower() == b"retry-after"]
    if len(given) == 1 and given[0].isdigit() and len(given[0]) < 10:
        return min(float(given[0]), MAX_RETRY_AFTER)
    return None


def _status_error(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}"


def _network_error(fault: Exception, seconds: float) -> str:
    """Why there was no response; without IP addresses, which may be internal."""
    if isinstance(fault, httpcore.TimeoutException):
        return f"no answer within {seconds:g} s"
    for cause in _causes(fault):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
    if isinstance(fault, httpcore.ProtocolError):
        return "the connection ended without an HTTP response"
    return "the connection failed"


def _causes(fault: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = fault
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
