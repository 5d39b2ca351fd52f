"""`WebhookUrls`: webhook URLs, validated and resolved at creation and at every delivery.

The host is resolved here and all its addresses are checked. The client connects to one of them and
does not resolve again, which prevents DNS rebinding.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence

import httpx

from jobs.messages.ssrf import is_allowed

MAX_URL = 2048
RESOLVE_SECONDS = 5.0
Resolve = Callable[[str, int], Sequence[str]]


class InvalidWebhookUrl(ValueError):  # noqa: N818 - says what is the case
    """The URL is not allowed; the message says why, and has no IP addresses."""


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it.

    Raises:
        OSError: it has no address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class WebhookUrls:
    """Validates URLs and resolves their hosts.

    Args:
        private: `Settings.webhook_allow_private`: also allow http, this machine and private
            networks.
        resolver: returns the addresses of a host; the system's by default.
    """

    def __init__(self, *, private: bool, resolver: Resolve = resolve) -> None:
        self.private = private
        self._resolver = resolver

    def url(self, text: str) -> httpx.URL:
        """Parse a URL; its host is in ASCII.

        Raises:
            InvalidWebhookUrl: it is not allowed.
        """
        if len(text) > MAX_URL or not text.isprintable() or " " in text:
            raise InvalidWebhookUrl(
                f"a URL is at most {MAX_URL} printable characters without spaces"
            )
        try:
            url = httpx.URL(text)
            _ = (
                url.host,
                url.userinfo,
                url.port,
                url.fragment,
            )  # each is decoded when it is asked for
        except (httpx.InvalidURL, ValueError) as error:  # UnicodeError is one: IDNs that are none
            raise InvalidWebhookUrl("this is not a URL") from error
        schemes = ("https", "http") if self.private else ("https",)
        if url.scheme not in schemes:
            raise InvalidWebhookUrl(
                f"the URL must begin with {' or '.join(f'{s}://' for s in schemes)}"
            )
        if not url.host or "%" in url.host:  # no name has an escape, and no public address a zone
            raise InvalidWebhookUrl("the URL has no valid host")
        if url.userinfo:
            raise InvalidWebhookUrl("the URL must not have a user name or password")
        if url.fragment:
            raise InvalidWebhookUrl("the URL must not have a fragment (#…)")
        if url.port is not None and not 0 < url.port < 65536:
            raise InvalidWebhookUrl(f"there is no port {url.port}")
        if len(str(url)) > MAX_URL:
            raise InvalidWebhookUrl(
                f"the URL has more than {MAX_URL} characters when it is encoded"
            )
        return url

    def addresses(self, host: str, port: int, seconds: float = RESOLVE_SECONDS) -> list[str]:
        """The addresses of a host, all of them allowed.

        Raises:
            InvalidWebhookUrl: it has no address within that time, or a forbidden one. Both have
                the same message, which must not reveal the names of internal hosts.
        """
        found = self._within(host, port, seconds)
        if not found or not all(is_allowed(text, private=self.private) for text in found):
            raise InvalidWebhookUrl("the host has no address, or one that is not public")
        return list(dict.fromkeys(found))

    def check(self, text: str) -> str:
        """Validate a URL and its host's addresses; returns the URL to store.

        Raises:
            InvalidWebhookUrl: it is not allowed.
        """
        url = self.url(text)
        self.addresses(
            url.raw_host.decode("ascii"), url.port or (80 if url.scheme == "http" else 443)
        )
        return str(url)

    def _within(self, host: str, port: int, seconds: float) -> Sequence[str]:
        """The resolver's answer; empty after a timeout, which `getaddrinfo` does not have."""
        answers: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolver(host, port))
            except (OSError, ValueError):
                answers.put(())

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            return answers.get(timeout=max(seconds, 0.0))
        except queue.Empty:
            return ()
