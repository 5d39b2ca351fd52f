"""One POST stays within its bounds, and goes to no address that was not checked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence

import pytest

from jobs.messages.webhook_urls import WebhookUrls
from jobs.store.webhooks.records import DeliveryOutcome
from tests.receiver import (
    Answer,
    Receiver,
    closing,
    endless,
    gibberish,
    hanging,
    status,
    trickling,
)
from tests.servers import free_port
from worker.housekeeping.webhook_client import WebhookClient

HOST = "receiver.example"
LOOPBACK = ["127.0.0.1"]
SECONDS = 1.5


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    receiver = Receiver(HOST, "127.0.0.1")
    yield receiver
    receiver.close()


@pytest.fixture
def receiver(server: Receiver) -> Receiver:
    server.received.clear()
    server.answers[:] = [status(204)]
    return server


def post(
    receiver: Receiver,
    url: str | None = None,
    *,
    private: bool = True,
    resolver: Sequence[str] | None = LOOPBACK,
    tls: ssl.SSLContext | None = None,
) -> DeliveryOutcome:
    urls = WebhookUrls(private=private, resolver=lambda _host, _port: resolver or [])
    client = WebhookClient(urls, SECONDS, tls or receiver.trust())
    return client.post(url or receiver.url(HOST), b'{"a":1}', {"webhook-id": "msg_1"})


def test_what_arrives(receiver: Receiver) -> None:
    outcome = post(receiver, receiver.url(HOST, "/a%20b?c=d&e"))
    assert (outcome.status_code, outcome.error, outcome.delivered) == (204, None, True)
    (received,) = receiver.received
    assert (received.path, received.body) == ("/a%20b?c=d&e", b'{"a":1}')
    assert received.headers["host"] == f"{HOST}:{receiver.port}"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["webhook-id"] == "msg_1"
    assert received.headers["user-agent"].startswith("SlimGPT/")


@pytest.mark.parametrize(
    ("answer", "status_code", "words"),
    [
        (status(200), 200, None),
        (endless, 200, None),
        (status(302, ("Location", "http://169.254.169.254/")), 302, "redirects are not followed"),
        (status(404), 404, "answered 404"),
        (status(500), 500, "answered 500"),
        (hanging, None, "no answer within 1.5 s"),
        (trickling, None, "no answer within 1.5 s"),
        (closing, None, "the connection ended without an HTTP response"),
        (gibberish, None, "the connection ended without an HTTP response"),
    ],
)
def test_whatever_the_receiver_does_ends_soon_and_is_told_in_words(
    receiver: Receiver, answer: Answer, status_code: int | None, words: str | None
) -> None:
    receiver.answers[:] = [answer]
    outcome = post(receiver)
    assert outcome.status_code == status_code
    assert (outcome.error is None) if words is None else (words in (outcome.error or ""))
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("given", "waits"),
    [("120", 120.0), ("999999", 86400.0), ("soon", None), ("-5", None), ("9" * 400, None)],
)
def test_a_receiver_in_trouble_may_ask_to_wait(
    receiver: Receiver, given: str, waits: float | None
) -> None:
    receiver.answers[:] = [status(503, ("Retry-After", given))]
    assert post(receiver).retry_after == waits
    receiver.answers[:] = [status(500, ("Retry-After", given))]
    assert post(receiver).retry_after is None


def test_a_certificate_that_is_not_trusted_or_not_the_hosts_is_refused(receiver: Receiver) -> None:
    outcome = post(receiver, tls=ssl.create_default_context())
    assert "its certificate is not valid" in (outcome.error or "")
    outcome = post(receiver, receiver.url("other.example"))
    assert "not valid for 'other.example'" in (outcome.error or "")
    outcome = post(receiver, receiver.url(HOST).replace("https", "http"))
    assert not outcome.delivered
    assert receiver.received == []


def test_where_nobody_listens_is_said_without_the_address(receiver: Receiver) -> None:
    outcome = post(receiver, f"https://{HOST}:{free_port()}/")
    assert outcome.error == "connection refused"


def test_another_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    assert post(receiver, resolver=["127.0.0.9", "127.0.0.1"]).delivered


def test_a_name_that_changes_after_the_check_leads_nowhere_else(receiver: Receiver) -> None:
    """DNS rebinding: public when it was registered and at the check, ours when it is connected."""
    answers = [["93.184.215.14"], ["127.0.0.1"]]
    urls = WebhookUrls(private=False, resolver=lambda _host, _port: answers.pop(0))
    urls.check(receiver.url(HOST))
    outcome = WebhookClient(urls, SECONDS, receiver.trust()).post(receiver.url(HOST), b"{}", {})
    assert outcome.error == "the host has no address, or one that is not public"
    assert receiver.received == []


def test_the_address_that_was_checked_is_the_one_connected_to(receiver: Receiver) -> None:
    """The resolver is asked once a sending; the system's would not know the name at all."""
    asked: list[str] = []

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return LOOPBACK

    client = WebhookClient(WebhookUrls(private=True, resolver=resolver), SECONDS, receiver.trust())
    assert client.post(receiver.url(HOST), b"{}", {}).delivered
    assert asked == [HOST]
    with pytest.raises(OSError, match=r".+"):
        socket.getaddrinfo(HOST, 443)


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], []],
)
def test_one_address_that_is_not_public_is_enough_to_refuse(
    receiver: Receiver, addresses: list[str]
) -> None:
    outcome = post(receiver, private=False, resolver=addresses)
    assert outcome.error == "the host has no address, or one that is not public"
    assert receiver.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "localhost", "0"])
def test_loopback_in_any_spelling_is_refused(receiver: Receiver, host: str) -> None:
    client = WebhookClient(WebhookUrls(private=False), SECONDS, receiver.trust())
    outcome = client.post(receiver.url(host), b"{}", {})
    assert outcome.error is not None
    assert receiver.received == []


def test_proxies_of_the_environment_are_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert post(receiver).delivered
