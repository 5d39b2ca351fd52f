"""Webhooks in SQL: an owner's, bounded, and without their secrets."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from jobs.store.keys import BadKeyRequest
from jobs.store.webhooks.endpoints import TooManyWebhooks
from jobs.store.webhooks.records import Delivery, DeliveryStatus
from jobs.store.webhooks.signatures import Signatures
from tests.jobs.store.webhooks.conftest import PEPPER, Ends

NOW = datetime.now(UTC)
DELIVERY = Delivery(
    "msg_1", "wh_1", "job.failed", None, '{"ü":1}', DeliveryStatus.PENDING, 1, 0, [], NOW, NOW, None
)


def test_owners_see_their_own(ends: Ends) -> None:
    webhook, other = ends.webhook("ada"), ends.webhook("bob")
    assert ends.webhooks.get(webhook.id, "ada") == ends.webhooks.get(webhook.id) == webhook
    assert ends.webhooks.get(webhook.id, "bob") is None
    assert ends.webhooks.list("bob").items == [other]
    assert len(ends.webhooks.list().items) == 2


def test_posts_at_once_make_no_more_than_there_is_room_for(ends: Ends) -> None:
    barrier = threading.Barrier(6)
    refused: list[str] = []

    def make() -> None:
        barrier.wait()
        try:
            ends.webhook(most=3)
        except TooManyWebhooks as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends.webhooks.list("ada").items) == len(refused) == 3
    ends.webhook("bob", most=3)


def test_of_two_rotations_at_once_one_happens(ends: Ends) -> None:
    webhook = ends.webhook()
    rotated = ends.webhooks.rotate(webhook, ends.signatures)
    assert rotated is not None
    assert rotated.secret_version == 2
    assert ends.webhooks.rotate(webhook, ends.signatures) is None
    assert ends.webhooks.get(webhook.id) == rotated


def test_a_secret_is_the_peppers_the_webhooks_and_the_numbers_own() -> None:
    signatures = Signatures(PEPPER)
    secrets = {signatures.secret(name, number) for name in ("wh_1", "wh_2") for number in (1, 2)}
    secrets |= {Signatures(PEPPER + "!").secret("wh_1", 1)}
    assert len(secrets) == 5
    assert signatures.secret("wh_1", 1) == Signatures(PEPPER).secret("wh_1", 1)
    assert signatures.check("wh_1", 1) not in "".join(secrets)
    with pytest.raises(BadKeyRequest, match="openssl rand"):
        Signatures("short")


def test_signatures_are_those_of_the_secret_and_for_a_day_of_the_one_before(ends: Ends) -> None:
    webhook = ends.webhook()
    rotated = ends.webhooks.rotate(webhook, ends.signatures)
    assert rotated is not None
    old, new = (Verifier(ends.signatures.secret(webhook.id, number)) for number in (1, 2))
    now = datetime.now(UTC)
    headers = dict(ends.signatures.headers(rotated, DELIVERY, now))
    assert headers["webhook-signature"].count("v1,") == 2
    for verifier in (old, new):
        assert verifier.verify(DELIVERY.body, headers) == {"ü": 1}
    until = now + timedelta(hours=25)
    late = ends.signatures.headers(rotated, DELIVERY, until)
    assert late["webhook-signature"].count("v1,") == 1
    assert late["webhook-timestamp"] == str(int(until.timestamp()))
    whole = until.replace(microsecond=0)
    assert late["webhook-signature"] == new.sign(DELIVERY.id, whole, DELIVERY.body)
    third = Verifier(ends.signatures.secret(webhook.id, 3))
    with pytest.raises(WebhookVerificationError):
        third.verify(DELIVERY.body, headers)
