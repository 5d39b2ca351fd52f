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
    """Where a delivery is: to be sent (again), taken by its receiver, or given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that an owner wants told of the ends of jobs. Times are aware, in UTC."""

    id: str
    owner: str
    url: str
    description: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    """Why the service has stopped sending; None if it has not, or the owner has."""
    secret_version: int
    secret_check: str
    previous_until: datetime | None
    """Until when the secret before this one signs as well."""
    failing_since: datetime | None
    """The first of the attempts that have failed since one succeeded."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one webhook. Its id is the `webhook-id`, the same in every attempt."""

    id: str
    webhook_id: str
    event: str
    job_id: str | None
    body: str
    """The JSON that is signed and sent, byte by byte the same in every attempt."""
    status: DeliveryStatus
    attempts: int
    """Attempts begun; also the epoch that guards what a sender writes."""
    attempts_before: int
    """Attempts of earlier rounds: somebody asked for another since."""
    log: list[dict[str, Any]]
    """The attempts that ended, as `at`, `status_code`, `error`, `seconds`; the latest of many."""
    next_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """What came of one attempt: the HTTP status of an answer, or why there was none.

    Attributes:
        error: words for the owner, without addresses; None with a status of 200 to 299.
        retry_after: seconds that the receiver asked to wait.
    """

    at: datetime
    seconds: float
    status_code: int | None = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no message ever again."""
        return self.status_code == 410
