"""Requests that no client sends: two lengths in one, half ones, odd lines; over bare sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

SMUGGLED = b"DELETE /jobs/job_1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
TWO_READINGS = {
    "both lengths": JSON + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": JSON + b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
    "a list of lengths": JSON + b"Content-Length: 0, 50\r\n\r\n",
    "a signed length": JSON + b"Content-Length: +50\r\n\r\n",
    "a length in another base": JSON + b"Content-Length: 0x32\r\n\r\n",
    "a length with a space": JSON + b"Content-Length : 50\r\n\r\n",
    "chunked twice": JSON + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked and more": JSON + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked misspelt": JSON + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked after a tab": JSON + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": JSON + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a carriage return": GET + b"X-A: b\rContent-Length: 50\r\n\r\n",
    "a NUL": GET + b"X-A: b\0c\r\n\r\n",
    "no name": GET + b": nothing\r\n\r\n",
    "two hosts": GET + b"Host: example.org\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "an address with a space": b"GET /health z HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture
def address(base_url: str) -> tuple[str, int]:
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or 0


@pytest.fixture
def line(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=30) as connection:
        yield connection


def answers(line: socket.socket) -> list[int]:
    """Status of every answer, until the server hangs up or says no more."""
    said = b""
    line.settimeout(10.0)  # a busy machine takes its time for the first
    try:
        while piece := line.recv(1 << 16):
            said += piece
            line.settimeout(0.5)
    except TimeoutError:
        pass
    heads = said.split(b"HTTP/1.1 ")[1:]
    return [int(head[:3]) for head in heads]


@pytest.mark.parametrize("how", TWO_READINGS)
def test_what_can_be_read_in_two_ways_hides_no_second_request(
    line: socket.socket, api: httpx.Client, how: str
) -> None:
    line.sendall(TWO_READINGS[how] + SMUGGLED)
    said = answers(line)
    # One answer at most is to the request itself; what follows was never one of ours.
    assert [status for status in said if status in (204, 404)] == []
    assert said in ([400], [422], [400, 400], [415])
    assert api.get("/jobs").json()["items"] == []


def test_requests_in_a_row_are_answered_in_their_order(line: socket.socket) -> None:
    line.sendall(GET + b"\r\n" + JSON + b"Content-Length: 2\r\n\r\n{}" + GET + b"\r\n")
    assert answers(line) == [200, 422, 200]


@pytest.mark.parametrize(
    "piece", [GET, JSON + b"Content-Length: 100\r\n\r\n{", b"GET /hea", JSON + b"Expect: 100-cont"]
)
def test_half_requests_hold_up_nobody_else(
    address: tuple[str, int], api: httpx.Client, piece: bytes
) -> None:
    with ExitStack() as lines:
        for _ in range(150):
            slow = lines.enter_context(socket.create_connection(address, timeout=30))
            slow.sendall(piece)
        assert api.get("/healthz").status_code == 200
        assert api.get("/jobs").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/%252e%252e%252fapp.py",
        "/static/..%5capp.py",
        "/static/..\\app.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/%c0%ae%c0%ae/app.py",
        "/static/%e2%80%a5/app.py",
        "/static-offline-docs/..%2f..%2fetc/passwd",
        "/problems/..%2f..%2fapp.py",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_no_path_leads_to_a_file_that_is_not_offered(line: socket.socket, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    line.sendall(request.encode())
    assert answers(line) in ([404], [400])


def test_of_a_request_for_another_protocol_nothing_comes(line: socket.socket) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    line.sendall(GET + upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert answers(line) in ([200], [400], [426])
