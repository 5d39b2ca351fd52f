"""Request and response models of `/webhooks`, as documented in /docs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.examples import DELIVERY_ID, WEBHOOK_ID
from jobs.messages.webhook_urls import MAX_URL
from jobs.store.webhooks.records import JOB_EVENTS, JobEvent

Events = Annotated[
    list[JobEvent],
    Field(min_length=1, max_length=20, fail_fast=True),
    AfterValidator(lambda e: sorted(set(e))),
]
Description = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]


class WebhookRequest(BaseModel):
    """A new webhook."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=MAX_URL,
        description="URL to POST to: https, a public host, no user name, no fragment.",
        examples=["https://example.org/hooks/slimgpt"],
    )
    events: Events = Field(
        default=list(JOB_EVENTS), description="Events to send; all of them by default."
    )
    description: Description = Field("", description="Shown in lists.")


class WebhookChange(BaseModel):
    """Changes to a webhook; omitted fields keep their values."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    events: Events = Field(default=list(JOB_EVENTS), description="Events to send from now on.")
    description: Description = ""
    enabled: bool = Field(
        True,
        description="false: nothing more is sent, and pending deliveries fail. true: send again.",
    )


class WebhookView(BaseModel):
    """A webhook, without its secret. Times are in UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=[WEBHOOK_ID])
    owner: str = Field(description="Owner of the jobs whose events are sent.")
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why the service disabled it, if it did.")
    failing_since: datetime | None = Field(
        description="Time of the first failed attempt since the last success."
    )
    previous_until: datetime | None = Field(
        description="Until when messages are also signed with the previous secret."
    )
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(WebhookView):
    """A webhook with its secret, which is not shown again."""

    secret: str = Field(
        description="Verifies messages, with any Standard Webhooks library.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class WebhookPage(BaseModel):
    """A page of webhooks, newest first; the next page has `cursor=next_cursor`, unless null."""

    items: list[WebhookView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """One finished attempt."""

    attempt: int
    at: datetime | None = Field(description="null: the sender was killed.")
    status_code: int | None = Field(description="HTTP status; null: there was no response.")
    error: str | None = Field(description="null: delivered.")
    seconds: float | None


class DeliveryView(BaseModel):
    """One message to one webhook. Times are in UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(
        description="The header `webhook-id`, the same in every attempt.",
        examples=[DELIVERY_ID],
    )
    webhook_id: str
    event: str = Field(examples=["job.succeeded"])
    job_id: str | None = Field(description="null: not about a job.")
    status: str = Field(description="pending; finally delivered or failed.")
    attempts: int = Field(description="Number of attempts started.")
    log: list[AttemptView] = Field(description="The finished attempts, the latest last.")
    next_at: datetime | None = Field(description="When the next attempt is due, while pending.")
    created_at: datetime
    finished_at: datetime | None


class DeliveryDetail(DeliveryView):
    """A delivery with its payload."""

    payload: dict[str, Any]


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first; the next page has `cursor=next_cursor`, unless null."""

    items: list[DeliveryView]
    next_cursor: str | None
