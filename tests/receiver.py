"""A real HTTPS server that receives webhooks, with a certificate of the test's own authority."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from standardwebhooks import Webhook

from tests.servers import wait_until

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Received:
    """One request as it came, and the address that it came to."""

    path: str
    headers: dict[str, str]
    body: bytes
    address: str

    def verified(self, secret: str) -> Any:
        """The message, if the library for receivers finds that the secret's holder sent it."""
        return Webhook(secret).verify(self.body, self.headers)


class Handler(BaseHTTPRequestHandler):
    """Keeps the request and answers as the test wants."""

    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        address = self.connection.getsockname()[0]
        self.server.received.append(Received(self.path, headers, body, address))
        with suppress(OSError):
            answers = self.server.answers
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def say(self, status: int, *headers: tuple[str, str], body: bytes = b"") -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests look at what was received."""


def status(number: int, *headers: tuple[str, str]) -> Answer:
    """Answer with a status."""
    return lambda handler: handler.say(number, *headers)


def endless(handler: Handler) -> None:
    """A body without an end, as fast as it goes."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


def trickling(handler: Handler) -> None:
    """Headers without an end, a byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.closing.wait(0.05):
        handler.wfile.write(b"x")


def hanging(handler: Handler) -> None:
    """No answer, until the server closes."""
    handler.server.closing.wait(60)


def closing(handler: Handler) -> None:
    """The connection ends without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def gibberish(handler: Handler) -> None:
    """Something that is no HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


class Receiver(ThreadingHTTPServer):
    """Listens on 127.0.0.1 and keeps what it gets.

    Args:
        names: host names on the certificate; without any it speaks plain HTTP.
        folder: where the authority's certificate is written.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *names: str, folder: Path | None = None, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), Handler)
        self.received: list[Received] = []
        self.answers: list[Answer] = [status(204)]
        """What to answer, one after the other; the last stays."""
        self.closing = threading.Event()
        self.scheme = "http"
        if names:
            self.authority = trustme.CA()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(*names).configure_cert(context)
            # The handshake on the connection's own thread: a client that breaks off harms none.
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
            self.scheme = "https"
        if folder is not None:
            self.authority.cert_pem.write_to_path(folder / "authority.pem")
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        """Its address under a name."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def trust(self) -> ssl.SSLContext:
        """What a client needs who trusts its certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def wait_for(self, number: int, seconds: float = 60.0) -> list[Received]:
        """The requests, when there are so many."""
        wait_until(lambda: len(self.received) >= number, f"{number} webhooks came", seconds)
        return self.received

    def handle_error(self, *_: Any) -> None:
        """Clients that break off are what is tested."""

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.thread.join()
        self.server_close()
