"""The sender against real receivers: every end arrives, signed, whatever fails on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import BadKeyRequest
from jobs.store.store import Store
from jobs.store.tables import DELIVERIES, JOBS
from jobs.store.webhooks.deliveries import GONE, INTERRUPTED, Deliveries
from jobs.store.webhooks.endpoints import Webhooks
from jobs.store.webhooks.outbox import announce_all
from jobs.store.webhooks.records import JOB_EVENTS, Delivery, DeliveryStatus, Webhook
from jobs.store.webhooks.signatures import Signatures
from tests.jobs.conftest import SPEC
from tests.receiver import Receiver, closing, hanging, status
from tests.servers import wait_until
from worker.housekeeping.webhook_sender import WebhookSender, make_senders

PEPPER = "a pepper that only the tests know, of some length"
SIGNATURES = Signatures(PEPPER)


class Post:
    """A store, webhooks that lead to a receiver, and senders."""

    def __init__(self, settings: Settings, receiver: Receiver) -> None:
        self.settings = settings
        self.receiver = receiver
        self.engine: Engine = make_engine(settings.database_url.get_secret_value())
        self.store = Store(self.engine)
        self.webhooks = Webhooks(self.engine)
        self.deliveries = Deliveries(self.engine)
        self.senders: list[WebhookSender] = []

    def webhook(self, path: str = "/hook", owner: str = "ada") -> Webhook:
        return self.webhooks.create(
            self.receiver.url(path=path), SIGNATURES, owner=owner, events=JOB_EVENTS, most=100
        )

    def end(self, owner: str = "ada") -> str:
        """The id of a job that is over."""
        job = self.store.create(SPEC, owner=owner)
        self.store.request_cancel(job.id)
        return job.id

    def start(self, **changes: Any) -> WebhookSender:
        """A sender that runs, with other settings if wanted."""
        settings = self.settings.model_copy(update=changes)
        sender = WebhookSender(settings, self.engine, tls=self.receiver.trust())
        sender._pause = 0.05
        sender.start()
        self.senders.append(sender)
        return sender

    def log(self, webhook: Webhook) -> list[Delivery]:
        return self.deliveries.list(webhook.id, limit=200).items

    def settled(self, webhook: Webhook, number: int = 1) -> list[Delivery]:
        """The webhook's deliveries, when so many are over."""

        def over() -> list[Delivery]:
            found = [d for d in self.log(webhook) if d.status is not DeliveryStatus.PENDING]
            return found if len(found) >= number else []

        found: list[Delivery] = wait_until(over, f"{number} deliveries are over", 60)
        return found

    def close(self) -> None:
        for sender in self.senders:
            sender.stop()
        self.engine.dispose()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver("127.0.0.1", folder=tmp_path)
    yield made
    made.close()


@pytest.fixture
def post(database_url: str, receiver: Receiver, tmp_path: Path) -> Iterator[Post]:
    settings = Settings(
        home=tmp_path,
        database_url=database_url,
        key_pepper=PEPPER,
        webhook_allow_private=True,
        webhook_timeout_seconds=5,
        webhook_retry_seconds=(0.05, 0.05, 0.05),
    )
    made = Post(settings, receiver)
    yield made
    made.close()


def secret(webhook: Webhook) -> str:
    return SIGNATURES.secret(webhook.id, webhook.secret_version)


def test_an_end_arrives_signed(post: Post) -> None:
    webhook = post.webhook()
    job_id = post.end()
    post.start()
    (delivery,) = post.settled(webhook)
    (received,) = post.receiver.received
    message = received.verified(secret(webhook))
    assert (message["type"], message["data"]["id"]) == ("job.cancelled", job_id)
    assert received.headers["webhook-id"] == delivery.id
    assert received.body.decode() == delivery.body


def test_a_receiver_that_fails_gets_the_same_message_again(post: Post) -> None:
    post.receiver.answers[:] = [status(500), closing, status(200)]
    webhook = post.webhook()
    post.end()
    post.start()
    (delivery,) = post.settled(webhook)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [entry["status_code"] for entry in delivery.log] == [500, None, 200]
    assert {received.headers["webhook-id"] for received in post.receiver.received} == {delivery.id}
    assert len({received.body for received in post.receiver.received}) == 1
    for received in post.receiver.received:
        received.verified(secret(webhook))


def test_after_the_last_attempt_it_is_given_up_and_can_be_asked_for_again(post: Post) -> None:
    post.receiver.answers[:] = [status(503)]
    webhook = post.webhook()
    post.end()
    post.start()
    (delivery,) = post.settled(webhook)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, 4)
    post.receiver.answers[:] = [status(500), status(200)]
    post.deliveries.again(delivery)
    wait_until(lambda: post.log(webhook)[0].status is DeliveryStatus.DELIVERED, "delivered", 60)
    assert [entry["attempt"] for entry in post.log(webhook)[0].log] == [1, 2, 3, 4, 5, 6]


def test_a_receiver_that_is_gone_hears_no_more(post: Post) -> None:
    post.receiver.answers[:] = [status(410)]
    webhook = post.webhook()
    post.end()
    post.start()
    post.settled(webhook)
    off = post.webhooks.get(webhook.id)
    assert off is not None
    assert (off.enabled, off.disabled_reason) == (False, GONE)
    post.end()
    other = post.webhook("/other")
    post.end()
    post.settled(other)
    assert len(post.log(webhook)) == 1


def test_for_a_day_after_a_rotation_both_secrets_verify(post: Post) -> None:
    webhook = post.webhook()
    rotated = post.webhooks.rotate(webhook, SIGNATURES)
    assert rotated is not None
    assert rotated.previous_until is not None
    assert timedelta(hours=23) < rotated.previous_until - datetime.now(UTC) <= timedelta(hours=24)
    post.end()
    post.start()
    post.settled(webhook)
    (received,) = post.receiver.received
    assert received.verified(secret(webhook)) == received.verified(secret(rotated))


def test_under_another_pepper_nothing_is_signed_until_the_secret_is_rotated(post: Post) -> None:
    webhook = post.webhook()
    post.end()
    changed = Signatures("another pepper, of some length, than when it was made")
    post.start(key_pepper=Settings(key_pepper=changed._pepper.decode()).key_pepper)
    (delivery,) = post.settled(webhook)
    assert delivery.status is DeliveryStatus.FAILED
    assert "rotate it" in delivery.log[-1]["error"]
    assert post.receiver.received == []
    rotated = post.webhooks.rotate(webhook, changed)
    assert rotated is not None
    assert rotated.previous_until is None  # nobody can sign with the one before
    post.deliveries.again(delivery)
    (received,) = post.receiver.wait_for(1)
    received.verified(changed.secret(rotated.id, rotated.secret_version))


def test_two_senders_send_everything_once(post: Post) -> None:
    webhooks = [post.webhook(f"/{owner}", owner) for owner in ("a", "b", "c")]
    jobs = {post.end(webhook.owner) for webhook in webhooks for _ in range(8)}
    post.start()
    post.start()
    for webhook in webhooks:
        post.settled(webhook, 8)
    told = [webhook_of(post, received)["data"]["id"] for received in post.receiver.received]
    assert sorted(told) == sorted(jobs)


def webhook_of(post: Post, received: Any) -> Any:
    """The message, verified by the secret of the webhook that its path names."""
    every = post.webhooks.list(limit=50).items
    (webhook,) = [webhook for webhook in every if webhook.url.endswith(received.path)]
    return received.verified(secret(webhook))


def test_receivers_that_hang_hold_up_nobody_elses(post: Post) -> None:
    stuck = Receiver("127.0.0.1")
    stuck.answers[:] = [hanging]
    for number in range(3):
        post.webhooks.create(
            stuck.url(path=f"/{number}"), SIGNATURES, owner="slow", events=JOB_EVENTS, most=9
        )
    try:
        for _ in range(5):
            post.end("slow")
        post.start()  # trusts the other receiver alone, so this must not be about TLS
        post.senders[0]._client._tls.load_verify_locations(
            cadata=stuck.authority.cert_pem.bytes().decode()
        )
        stuck.wait_for(1)
        webhook = post.webhook()
        post.end()
        (delivery,) = post.settled(webhook)
        assert delivery.status is DeliveryStatus.DELIVERED
    finally:
        stuck.close()


def test_a_process_killed_between_sending_and_writing_sends_the_same_again(
    post: Post, receiver: Receiver, redis_url: str, tmp_path: Path
) -> None:
    receiver.answers[:] = [hanging]
    webhook = post.webhook()
    job_id = post.end()
    environment = os.environ | {
        "SLIMGPT_HOME": str(tmp_path),
        "SLIMGPT_DATABASE_URL": post.settings.database_url.get_secret_value(),
        "SLIMGPT_REDIS_URL": redis_url,
        "SLIMGPT_KEY_PEPPER": PEPPER,
        "SLIMGPT_WEBHOOK_ALLOW_PRIVATE": "true",
        "SLIMGPT_WEBHOOK_TIMEOUT_SECONDS": "30",
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
    }
    command = [sys.executable, "-m", "worker.housekeeping.reaper"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    receiver.wait_for(1, 120)
    process.kill()
    process.wait()
    (delivery,) = post.log(webhook)
    assert (delivery.status, delivery.attempts, delivery.log) == (DeliveryStatus.PENDING, 1, [])
    receiver.answers[:] = [status(200)]
    with post.engine.begin() as connection:  # the lease is over
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(DELIVERIES).values(next_at=past, lease_expires_at=past))
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    (delivery,) = post.settled(webhook)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert [entry["error"] for entry in delivery.log] == [INTERRUPTED, None]
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == delivery.id
    assert second.verified(secret(webhook))["data"]["id"] == job_id


def test_a_defect_of_ours_counts_as_an_attempt(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_delivery: object, _body: object, _headers: object) -> None:
        raise ZeroDivisionError

    webhook = post.webhook()
    post.end()
    sender = WebhookSender(post.settings, post.engine, tls=post.receiver.trust())
    monkeypatch.setattr(sender._client, "post", broken)
    sender._pause = 0.05
    sender.start()
    post.senders.append(sender)
    (delivery,) = post.settled(webhook)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, 4)
    assert "its log says why" in delivery.log[0]["error"]


def test_what_ended_before_there_was_a_webhook_is_no_news(post: Post) -> None:
    post.end()
    with post.engine.begin() as connection:
        connection.execute(update(JOBS).values(finished_at=datetime.now(UTC) - timedelta(days=1)))
    webhook = post.webhook()
    job_id = post.end()
    post.start()
    post.settled(webhook)
    assert [delivery.job_id for delivery in post.log(webhook)] == [job_id]


def test_without_a_pepper_there_is_no_sender(post: Post) -> None:
    bare = Settings(home=post.settings.home, database_url=post.settings.database_url)
    assert make_senders(bare, post.engine) == []
    with pytest.raises(BadKeyRequest, match="SLIMGPT_KEY_PEPPER is not set"):
        WebhookSender(bare, post.engine)


def test_the_log_is_emptied_however_much_is_old(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More may become old in an hour than one statement removes."""
    monkeypatch.setattr("jobs.store.webhooks.deliveries.REMOVED_AT_ONCE", 2)
    webhook = post.webhook()
    for _ in range(5):
        post.end()
    announce_all(post.engine)
    over = {"status": DeliveryStatus.DELIVERED, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    with post.engine.begin() as connection:
        connection.execute(update(DELIVERIES).values(over))
    WebhookSender(post.settings, post.engine).look()
    assert post.log(webhook) == []
