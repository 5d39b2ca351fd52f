"""Records of the webhook store: webhooks and deliveries; plain frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

JobEvent = Literal["job.succeeded", "job.failed", "job.cancelled"]
JOB_EVENTS: tuple[JobEvent, ...] = ("job.succeeded", "job.failed", "job.cancelled")
TEST_EVENT = "webhook.test"


class DeliveryStatus(StrEnum):
    """State of a delivery: to be sent, accepted by the receiver, or given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook endpoint of an owner. Times are aware, in UTC."""

    id: str
    owner: str
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    """Why the service disabled it; None if enabled, or disabled by the owner."""
    secret_version: int
    secret_check: str
    previous_until: datetime | None
    """Until when the previous secret also signs."""
    failing_since: datetime | None
    """The first failed attempt since the last success."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook. Its id is the header `webhook-id`, the same in every attempt."""

    id: str
    webhook_id: str
    event: str
    job_id: str | None
    body: str
    """The signed JSON, the same bytes in every attempt."""
    status: DeliveryStatus
    attempts: int
    """Attempts begun; also the epoch that guards a sender's writes."""
    attempts_before: int
    """Attempts before the last redelivery request."""
    log: list[dict[str, Any]]
    """The latest finished attempts: `at`, `status_code`, `error`, `seconds`."""
    next_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """Outcome of an attempt: the HTTP status of the response, or why there was none.

    Attributes:
        error: message for the owner, without addresses; None with a status of 200 to 299.
        retry_after: seconds, from the receiver's `Retry-After`.
    """

    at: datetime
    seconds: float
    status_code: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted the message."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver responded with 410 Gone."""
        return self.status_code == 410
