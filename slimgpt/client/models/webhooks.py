"""Webhooks and their deliveries as the API answers them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from slimgpt.client.models.base import Model, Rows

JobEnd = Literal["job.succeeded", "job.failed", "job.cancelled"]


class Webhook(Model):
    """An address that is told when jobs end. Times are in UTC."""

    id: str
    owner: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    previous_until: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def state(self) -> str:
        """`enabled`, `failing`, or `disabled` with the reason."""
        if self.enabled:
            return "failing" if self.failing_since else "enabled"
        return f"disabled: {self.disabled_reason}" if self.disabled_reason else "disabled"


class WebhookWithSecret(Webhook):
    """A webhook with its secret, which is not shown again."""

    secret: str


class WebhookPage(Model):
    """Some webhooks, newest first; `next_cursor` asks for the next page, None: this is the last."""

    items: list[Webhook]
    next_cursor: str | None

    def rows(self) -> Rows:
        """As a table."""
        header = ("id", "state", "events", "address", "description")
        rows = [
            (one.id, one.state, " ".join(one.events), one.url, one.description)
            for one in self.items
        ]
        return Rows(header, rows)


class Attempt(Model):
    """One attempt to deliver a message, as it ended."""

    attempt: int
    at: datetime | None
    status_code: int | None
    error: str | None
    seconds: float | None


class Delivery(Model):
    """One message to one webhook. Times are in UTC."""

    id: str
    webhook_id: str
    event: str
    job_id: str | None
    status: str
    attempts: int
    log: list[Attempt]
    next_at: datetime | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def last(self) -> str:
        """The number of the last attempt that ended, and its result."""
        if not self.log:
            return "none yet" if self.status == "pending" else "none"
        return f"{self.log[-1].attempt}: {self.log[-1].error or self.log[-1].status_code}"


class DeliveryDetail(Delivery):
    """A delivery with its payload."""

    payload: dict[str, Any]


class DeliveryPage(Model):
    """Some deliveries, newest first; `next_cursor` asks for the next page, None: the last."""

    items: list[Delivery]
    next_cursor: str | None

    def rows(self) -> Rows:
        """As a table."""
        header = ("id", "event", "job", "status", "last attempt")
        rows = [(one.id, one.event, one.job_id or "", one.status, one.last) for one in self.items]
        return Rows(header, rows)
