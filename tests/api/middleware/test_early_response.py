"""A refusal reaches the client, however much it is still sending."""

from __future__ import annotations

import socket

import httpx
import pytest

from api.middleware import early_response

HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n{more}\r\n\r\n"
TOO_MUCH = 4 << 20


def connected(base_url: str, path: str, more: str) -> socket.socket:
    """A request whose body is still to be sent."""
    wire = socket.create_connection(("127.0.0.1", int(base_url.rsplit(":", 1)[1])), timeout=60)
    wire.sendall(HEAD.format(path=path, more=more).encode())
    return wire


def read_all(wire: socket.socket) -> bytes:
    said = b""
    with wire:
        while chunk := wire.recv(65536):
            said += chunk
    return said


@pytest.mark.parametrize(
    ("path", "size", "status"), [("/jobs", TOO_MUCH, b"413"), ("/nothing", 900_000, b"404")]
)
def test_what_is_still_sent_does_not_cost_the_answer(
    base_url: str, path: str, size: int, status: bytes
) -> None:
    wire = connected(base_url, path, f"Content-Length: {size}\r\nConnection: close")
    wire.sendall(b"x" * size)
    said = read_all(wire)
    assert said.startswith(b"HTTP/1.1 " + status), said
    assert b"/problems/" in said


def test_the_answer_does_not_wait_for_the_rest(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_response, "LINGER_SECONDS", 30.0)
    wire = connected(base_url, "/jobs", f"Content-Length: {TOO_MUCH}")
    said = wire.recv(65536)
    assert said.startswith(b"HTTP/1.1 413")
    wire.sendall(b"x" * TOO_MUCH)
    assert (said + read_all(wire)).endswith(b"}")  # the connection ends in order


@pytest.mark.parametrize("limit", ["LINGER_SECONDS", "LINGER_BYTES"])
def test_nobody_is_read_from_for_ever(
    base_url: str, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(early_response, limit, 0.2 if limit == "LINGER_SECONDS" else 1 << 20)
    wire = connected(base_url, "/jobs", "Content-Length: 1000000000000")
    said = wire.recv(65536)
    assert said.startswith(b"HTTP/1.1 413")
    if limit == "LINGER_SECONDS":
        assert (said + read_all(wire)).endswith(b"}")  # and then the connection ends
        return
    with wire, pytest.raises(ConnectionError):
        wire.sendall(b"x" * (1 << 30))


def test_who_asks_before_sending_is_told_at_once(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_response, "LINGER_SECONDS", 1000.0)
    more = f"Content-Length: {TOO_MUCH}\r\nExpect: 100-continue"
    said = read_all(connected(base_url, "/jobs", more))
    assert said.startswith(b"HTTP/1.1 413")
    assert b"100" not in said.splitlines()[0]


def test_a_body_that_was_read_is_not_waited_for(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_response, "LINGER_SECONDS", 1000.0)  # the test would not end
    answer = api.post("/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert api.post("/healthz").status_code == 405
