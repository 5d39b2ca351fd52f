"""Which URLs webhooks may have, and that their hosts are resolved within bounds."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.messages.webhook_urls import InvalidWebhookUrl, WebhookUrls

PUBLIC = "93.184.215.14"


def urls(*addresses: str, private: bool = False) -> WebhookUrls:
    return WebhookUrls(private=private, resolver=lambda _host, _port: addresses)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://receiver.example/hook?a=b", "receiver.example"),
        ("https://receiver.example:8443", "receiver.example"),
        ("https://RECEIVER.example/", "receiver.example"),
        ("https://grüße.example/", "xn--gre-6ka8l.example"),
        ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111"),
    ],
)
def test_what_passes(text: str, host: str) -> None:
    asked: list[str] = []

    def resolver(name: str, _port: int) -> list[str]:
        asked.append(name)
        return [PUBLIC]

    WebhookUrls(private=False, resolver=resolver).check(text)
    assert asked == [host]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "receiver.example",
        "//receiver.example/",
        "http://receiver.example/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@receiver.example/",
        "https://user:secret@receiver.example/",
        "https://receiver.example/#fragment",
        "https://receiver.example:0/",
        "https://receiver.example:99999/",
        "https://receiver.example:port/",
        "https://receiver.example/a b",
        "https://receiver.example/\r\nHost: inside",
        "https://receiver.example/\0",
        "https://[::1/",
        "https://" + "a" * 64 + ".example/\u202e",
        "https://receiver.example/" + "a" * 2048,
        "https://receiver.example/" + "ü" * 1000,  # longer when it is sent
        "https://\udcff.example/",
        "https://xn--a/",  # begins like a name in punycode, and is none
        "https://xn--a.example/",
        "https://xn--0.pt/",
        "https://\u2177.example/",
    ],
)
def test_what_does_not(text: str) -> None:
    with pytest.raises(InvalidWebhookUrl):
        urls(PUBLIC).check(text)


HOSTS = st.text("ax-n0123456789.:[]%@/\\_\u3002\u0130\u212b", max_size=20) | st.text(max_size=20)


@given(st.sampled_from(["https://", "https://xn--", "https:/", ""]), HOSTS, st.text(max_size=10))
@example("https://xn--", "a", "/")
def test_any_text_is_a_target_or_is_none(scheme: str, host: str, rest: str) -> None:
    """A library that decodes a part only when it is asked for must not raise when it is."""
    for chosen in (urls(PUBLIC), WebhookUrls(private=True)):
        try:
            kept = chosen.url(f"{scheme}{host}{rest}")
        except InvalidWebhookUrl:
            continue
        assert urls(PUBLIC, private=True).check(str(kept)) == str(kept)


def test_http_with_the_switch_alone() -> None:
    assert urls("127.0.0.1", private=True).check("http://localhost:9000/") == (
        "http://localhost:9000/"
    )
    with pytest.raises(InvalidWebhookUrl, match=r"must begin with https://$"):
        urls(PUBLIC).check("http://receiver.example/")


def test_every_address_of_a_host_must_be_public_and_none_is_named() -> None:
    assert urls(PUBLIC, "1.1.1.1", PUBLIC).addresses("a", 443) == [PUBLIC, "1.1.1.1"]
    for addresses in ([], ["10.1.2.3"], [PUBLIC, "10.1.2.3"]):
        with pytest.raises(InvalidWebhookUrl) as refused:
            urls(*addresses).addresses("receiver.example", 443)
        assert str(refused.value) == "the host has no address, or one that is not public"


def test_a_resolver_that_hangs_or_fails_is_no_address() -> None:
    over = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        over.wait(60)
        return [PUBLIC]

    def fail(_host: str, _port: int) -> list[str]:
        raise OSError("no such host")

    began = time.monotonic()
    for resolver in (hang, fail):
        with pytest.raises(InvalidWebhookUrl):
            WebhookUrls(private=False, resolver=resolver).addresses("a", 443, seconds=0.1)
    assert time.monotonic() - began < 30  # not the minute of the resolver
    over.set()


@pytest.mark.parametrize("host", ["a..b", "." * 300, "x" * 70])
def test_a_name_that_no_resolver_can_ask_for_is_no_address(host: str) -> None:
    with pytest.raises(InvalidWebhookUrl):
        WebhookUrls(private=True).addresses(host, 443)
