"""`WebhookSender`: delivers webhooks from the outbox. A thread of the reaper; any number may run.

It writes deliveries for finished jobs to the outbox, claims those that are due, and sends them on a
few threads. One webhook or owner can use only a part of the threads.
"""

from __future__ import annotations

import random
import ssl
import threading
import time
from datetime import UTC, datetime

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from jobs.messages.webhook_urls import WebhookUrls
from jobs.settings import Settings
from jobs.store.keys import BadKeyRequest
from jobs.store.webhooks.deliveries import Deliveries
from jobs.store.webhooks.endpoints import Webhooks
from jobs.store.webhooks.outbox import announce_all
from jobs.store.webhooks.records import Delivery, DeliveryOutcome, Webhook
from jobs.store.webhooks.signatures import PepperChanged, Signatures
from worker.housekeeping.loop import Loop
from worker.housekeeping.metrics import deliveries
from worker.housekeeping.webhook_client import WebhookClient

PAUSE_SECONDS = 1.0
MOST_AT_ONCE = 16
FORGET_SECONDS = 3600.0
STOP_SECONDS = 3.0
JITTER = 0.1
DAY = 86400.0
log = structlog.get_logger(__name__)


class WebhookSender(Loop):
    """Sends due deliveries.

    Args:
        settings: the schedule and the limits of webhooks.
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
        tls: see `WebhookClient`.

    Raises:
        BadKeyRequest: the settings have no pepper, so nothing can be signed.
    """

    def __init__(
        self, settings: Settings, engine: Engine, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__("webhooks", PAUSE_SECONDS)
        self._settings = settings
        self._engine = engine
        self._webhooks = Webhooks(engine)
        self._deliveries = Deliveries(engine)
        self._signatures = Signatures(settings.key_pepper.get_secret_value())
        urls = WebhookUrls(private=settings.webhook_allow_private)
        self._client = WebhookClient(urls, settings.webhook_timeout_seconds, tls)
        self._slots = threading.Semaphore(MOST_AT_ONCE)
        self._under_way: set[threading.Thread] = set()
        self._forget_at = 0.0

    def look(self) -> None:
        """Fill the outbox, start sending due deliveries, and remove old ones.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store is unavailable.
        """
        announce_all(self._engine)
        while not self.over.is_set() and self._slots.acquire(blocking=False):
            if not self._begin():
                break
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_SECONDS
            kept = self._settings.webhook_log_days * DAY
            while self._deliveries.forget(kept) and not self.over.is_set():
                pass  # in batches, to keep transactions short

    def expected(self) -> tuple[type[Exception], ...]:
        """The store is unavailable."""
        return (SQLAlchemyError,)

    def stop(self) -> None:
        """End the loop and wait shortly for running deliveries; the rest are sent again."""
        super().stop()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in list(self._under_way):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self) -> bool:
        """Start a thread that sends the next due deliveries; it holds a slot."""
        delivery = None
        try:
            delivery = self._deliveries.claim()
        finally:
            if delivery is None:
                self._slots.release()
        if delivery is None:
            return False
        thread = threading.Thread(target=self._go_on, args=[delivery], name="post", daemon=True)
        self._under_way.add(thread)
        thread.start()
        return True

    def _go_on(self, first: Delivery) -> None:
        delivery: Delivery | None = first
        try:
            while delivery is not None:
                self.send(delivery)
                delivery = None if self.over.is_set() else self._deliveries.claim()
        except SQLAlchemyError as error:
            log.warning("what was sent could not be written down", error=type(error).__name__)
        except Exception:
            log.exception("a delivery was not sent; it will be when its lease has ended")
        finally:
            self._slots.release()
            self._under_way.discard(threading.current_thread())

    def send(self, delivery: Delivery) -> None:
        """Make the claimed attempt and record its outcome."""
        webhook = self._webhooks.get(delivery.webhook_id)
        if webhook is None:  # removed, and its deliveries with it
            return
        outcome = self._attempt(webhook, delivery)
        again_in = self._again_in(delivery, outcome)
        after = self._settings.webhook_disable_days * DAY
        self._deliveries.record(delivery, outcome, again_in, after)
        said = {"webhook": webhook.id, "delivery": delivery.id, "attempt": delivery.attempts}
        if outcome.delivered:
            deliveries.labels("delivered").inc()
            log.info("delivered", **said)
        else:
            deliveries.labels("given_up" if again_in is None else "again").inc()
            log.warning("not delivered", **said, reason=outcome.error, again_in=again_in)

    def _attempt(self, webhook: Webhook, delivery: Delivery) -> DeliveryOutcome:
        now = datetime.now(UTC)
        try:
            headers = self._signatures.headers(webhook, delivery, now)
            return self._client.post(webhook.url, delivery.body.encode(), headers)
        except PepperChanged as error:
            return DeliveryOutcome(now, 0.0, error=str(error))
        except Exception:
            # A defect counts as an attempt, or this delivery would be retried for ever.
            log.exception("a delivery could not be sent", delivery=delivery.id)
            return DeliveryOutcome(
                now, 0.0, error="the service could not send it; its log says why"
            )

    def _again_in(self, delivery: Delivery, outcome: DeliveryOutcome) -> float | None:
        """Seconds until the next attempt; None after the last of a round, and after Gone."""
        schedule = self._settings.webhook_retry_seconds
        step = delivery.attempts - delivery.attempts_before - 1
        if outcome.gone or step >= len(schedule):
            return None
        pause = max(schedule[step], outcome.retry_after or 0.0)
        return pause * (1 + JITTER * random.random())  # spreads retries of a common failure


def make_senders(settings: Settings, engine: Engine) -> list[WebhookSender]:
    """A sender; none, with a log entry, if there is no pepper to sign with."""
    try:
        return [WebhookSender(settings, engine)]
    except BadKeyRequest as error:
        log.info("webhooks are not sent", reason=str(error))
        return []
