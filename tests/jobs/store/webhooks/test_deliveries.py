"""Deliveries are claimed by one sender at a time, guarded, bounded, logged and forgotten."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jobs.cursors import InvalidCursor
from jobs.store.tables import DELIVERIES, WEBHOOKS
from jobs.store.webhooks.deliveries import (
    FAILING,
    GONE,
    INTERRUPTED,
    MOST_OF_OWNER,
    MOST_OF_WEBHOOK,
    count_deliveries,
)
from jobs.store.webhooks.outbox import announce_all
from jobs.store.webhooks.records import Delivery, DeliveryOutcome, DeliveryStatus, Webhook
from tests.jobs.store.webhooks.conftest import Ends

DAY = 86400.0
NEVER = 1000 * DAY


def outcome(status_code: int | None = None, error: str | None = None) -> DeliveryOutcome:
    return DeliveryOutcome(datetime.now(UTC), 0.25, status_code, error)


def pending(ends: Ends, webhook: Webhook, number: int = 1) -> None:
    for _ in range(number):
        assert ends.deliveries.add(webhook, "webhook.test", "{}")


def claim(ends: Ends, lease_seconds: float = 60.0) -> Delivery:
    claimed = ends.deliveries.claim(lease_seconds)
    assert claimed is not None
    return claimed


def again(ends: Ends, delivery: Delivery) -> Delivery:
    found = ends.deliveries.get(delivery.id, delivery.webhook_id)
    assert found is not None
    return found


def test_the_oldest_is_claimed_once_and_its_end_recorded(ends: Ends) -> None:
    webhook = ends.webhook()
    assert ends.deliveries.claim() is None
    pending(ends, webhook)
    delivery = claim(ends)
    assert (delivery.attempts, delivery.status) == (1, DeliveryStatus.PENDING)
    assert ends.deliveries.claim() is None
    assert ends.deliveries.record(delivery, outcome(204), 5.0, NEVER)
    done = again(ends, delivery)
    assert (done.status, done.next_at) == (DeliveryStatus.DELIVERED, None)
    (entry,) = done.log
    assert (entry["attempt"], entry["status_code"], entry["error"]) == (1, 204, None)
    assert not ends.deliveries.record(delivery, outcome(500), 5.0, NEVER)
    assert count_deliveries(ends.store.engine) == {"pending": 0, "delivered": 1, "failed": 0}


def test_a_failure_waits_for_its_time_and_the_last_is_the_end(ends: Ends) -> None:
    pending(ends, ends.webhook())
    delivery = claim(ends)
    assert ends.deliveries.record(delivery, outcome(500, "answered 500"), 3600.0, NEVER)
    assert ends.deliveries.claim() is None
    waiting = again(ends, delivery)
    assert waiting.status is DeliveryStatus.PENDING
    assert waiting.next_at is not None
    assert waiting.next_at - datetime.now(UTC) > timedelta(minutes=50)
    ends.deliveries.again(waiting)
    delivery = claim(ends)
    assert (delivery.attempts, delivery.attempts_before) == (2, 1)
    assert ends.deliveries.record(delivery, outcome(None, "timed out"), None, NEVER)
    assert again(ends, delivery).status is DeliveryStatus.FAILED
    assert [entry["attempt"] for entry in again(ends, delivery).log] == [1, 2]


@pytest.mark.parametrize("last", [5.0, None])
def test_asked_for_while_it_is_under_way_it_is_sent_again_if_it_must(
    ends: Ends, last: float | None
) -> None:
    pending(ends, ends.webhook())
    delivery = claim(ends)
    renewed = ends.deliveries.again(delivery)
    assert renewed is not None
    assert ends.deliveries.claim() is None
    assert ends.deliveries.record(delivery, outcome(500), last, NEVER)
    second = claim(ends)
    assert (second.attempts, second.attempts_before) == (2, 1)
    ends.deliveries.again(second)
    assert ends.deliveries.record(second, outcome(200), last, NEVER)
    assert again(ends, second).status is DeliveryStatus.DELIVERED
    assert ends.deliveries.claim() is None


def test_a_sender_that_died_is_followed_by_another_and_may_write_no_more(ends: Ends) -> None:
    pending(ends, ends.webhook())
    dead = claim(ends, lease_seconds=-1.0)
    alive = claim(ends)
    assert (alive.id, alive.attempts) == (dead.id, 2)
    assert not ends.deliveries.record(dead, outcome(200), None, NEVER)
    assert ends.deliveries.record(alive, outcome(200), None, NEVER)
    log = again(ends, alive).log
    assert [(entry["attempt"], entry["error"]) for entry in log] == [(1, INTERRUPTED), (2, None)]


def test_several_senders_claim_every_delivery_once(ends: Ends) -> None:
    for owner in ("a", "b", "c", "d", "e"):
        pending(ends, ends.webhook(owner), MOST_OF_WEBHOOK)
    claimed: list[str] = []
    barrier = threading.Barrier(4)

    def send() -> None:
        barrier.wait()
        missed = 0
        while missed < 3:  # another sender may have locked the one row that was looked at
            delivery = ends.deliveries.claim()
            missed += delivery is None
            if delivery is not None:
                claimed.append(delivery.id)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 5 * MOST_OF_WEBHOOK


def test_of_a_webhook_and_of_an_owner_only_some_are_under_way(ends: Ends) -> None:
    slow = [ends.webhook("slow") for _ in range(3)]
    for webhook in slow:
        pending(ends, webhook, 5)
    pending(ends, ends.webhook("quick"))
    under_way = [claim(ends) for _ in range(MOST_OF_OWNER + 1)]
    assert ends.deliveries.claim() is None
    owners = [ends.webhooks.get(delivery.webhook_id) for delivery in under_way]
    assert sum(webhook is not None and webhook.owner == "quick" for webhook in owners) == 1
    of_first = [delivery for delivery in under_way if delivery.webhook_id == slow[0].id]
    assert len(of_first) == MOST_OF_WEBHOOK
    ends.deliveries.record(of_first[0], outcome(200), None, NEVER)
    assert claim(ends).webhook_id in {slow[0].id, slow[2].id}


def test_gone_ends_the_webhook_and_all_that_waits_for_it(ends: Ends) -> None:
    webhook = ends.webhook()
    pending(ends, webhook, 3)
    delivery = claim(ends)
    assert ends.deliveries.record(delivery, outcome(410, "answered 410"), 5.0, NEVER)
    off = ends.webhooks.get(webhook.id)
    assert off is not None
    assert (off.enabled, off.disabled_reason) == (False, GONE)
    assert count_deliveries(ends.store.engine)["failed"] == 3
    assert ends.deliveries.claim() is None
    assert ends.deliveries.add(webhook, "webhook.test", "{}") is None
    assert ends.deliveries.again(again(ends, delivery)) is None
    ends.webhooks.change(webhook.id, enabled=True)
    assert ends.deliveries.again(again(ends, delivery)) is not None


def test_days_of_nothing_but_failures_end_a_webhook(ends: Ends) -> None:
    webhook = ends.webhook()

    def attempt(status: int, again_in: float | None) -> Webhook:
        pending(ends, webhook)
        assert ends.deliveries.record(claim(ends), outcome(status), again_in, 5 * DAY)
        now = ends.webhooks.get(webhook.id)
        assert now is not None
        return now

    def age() -> None:
        then = datetime.now(UTC) - timedelta(days=6)
        with ends.store.engine.begin() as connection:
            connection.execute(update(WEBHOOKS).values(failing_since=then))

    assert attempt(500, None).failing_since is not None
    assert attempt(200, 5.0).failing_since is None
    assert attempt(500, None).enabled
    age()
    assert attempt(500, DAY).enabled  # it may still be taken
    off = attempt(500, None)
    assert (off.enabled, off.disabled_reason) == (False, FAILING)
    on = ends.webhooks.change(webhook.id, enabled=True)
    assert on is not None
    assert (on.enabled, on.disabled_reason, on.failing_since) == (True, None, None)


def test_the_log_comes_in_pages_newest_first(ends: Ends) -> None:
    webhook, other = ends.webhook(), ends.webhook()
    pending(ends, webhook, 5)
    pending(ends, other)
    first = ends.deliveries.list(webhook.id, limit=3)
    rest = ends.deliveries.list(webhook.id, limit=3, cursor=first.next_cursor)
    ids = [delivery.id for delivery in (*first.items, *rest.items)]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert rest.next_cursor is None
    with pytest.raises(InvalidCursor):
        ends.deliveries.list(webhook.id, cursor="am9iXzE")  # job_1


def test_old_ones_are_forgotten_and_what_waits_is_not(ends: Ends) -> None:
    webhook = ends.webhook()
    pending(ends, webhook, 3)
    ends.deliveries.record(claim(ends), outcome(200), None, NEVER)
    ends.deliveries.record(claim(ends), outcome(500), None, NEVER)
    assert ends.deliveries.forget(DAY) == 0
    with ends.store.engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(days=2)
        connection.execute(update(DELIVERIES).values(created_at=old, next_at=old))
        over = update(DELIVERIES).where(DELIVERIES.c.finished_at.is_not(None))
        connection.execute(over.values(finished_at=old))
    assert ends.deliveries.forget(DAY) == 2
    assert count_deliveries(ends.store.engine) == {"pending": 1, "delivered": 0, "failed": 0}


def test_the_log_outlives_the_job_but_not_the_webhook(ends: Ends) -> None:
    webhook = ends.webhook()
    job = ends.cancelled()
    announce_all(ends.store.engine)
    assert ends.store.remove(job)
    assert [delivery.job_id for delivery in ends.told(webhook)] == [job.id]
    assert ends.webhooks.remove(webhook.id)
    assert not ends.webhooks.remove(webhook.id)
    assert ends.told(webhook) == []
