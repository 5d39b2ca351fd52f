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
    """A webhook to be made."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=MAX_URL,
        description="Where to POST to: https, a public host, no user name, no fragment.",
        examples=["https://example.org/hooks/slimgpt"],
    )
    events: Events = Field(
        default=list(JOB_EVENTS), description="What to tell; all of it if nothing is said."
    )
    description: Description = Field("", description="What it is for, to know it in a list.")


class WebhookChange(BaseModel):
    """What to change of a webhook; what is not said stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    events: Events = Field(default=list(JOB_EVENTS), description="What to tell from now on.")
    description: Description = ""
    enabled: bool = Field(
        True,
        description="false: nothing more is sent, and what waits is given up. true: from now on.",
    )


class WebhookView(BaseModel):
    """A webhook; never its secret. Times are in UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=[WEBHOOK_ID])
    owner: str = Field(description="Whose jobs it hears of.")
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why the service stopped sending, if it did.")
    failing_since: datetime | None = Field(
        description="First of the attempts that have failed since one got through."
    )
    previous_until: datetime | None = Field(
        description="Until when the secret before the last rotation signs as well."
    )
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(WebhookView):
    """A webhook with its secret, which is not shown again."""

    secret: str = Field(
        description="For Standard Webhooks' libraries to verify messages with.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class WebhookPage(BaseModel):
    """Some webhooks, newest first; go on with `cursor=next_cursor` while it is not null."""

    items: list[WebhookView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """One attempt that ended."""

    attempt: int
    at: datetime | None = Field(description="null: its sender was killed.")
    status_code: int | None = Field(description="HTTP status; null: there was no answer.")
    error: str | None = Field(description="null: the receiver took it.")
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
    job_id: str | None = Field(description="null: no job brought it about.")
    status: str = Field(description="pending; at the end delivered or failed.")
    attempts: int = Field(description="Attempts begun.")
    log: list[AttemptView] = Field(description="The attempts that ended, the latest last.")
    next_at: datetime | None = Field(description="When the next attempt is due, while pending.")
    created_at: datetime
    finished_at: datetime | None


class DeliveryDetail(DeliveryView):
    """A delivery with what it says."""

    payload: dict[str, Any]


class DeliveryPage(BaseModel):
    """Some deliveries, newest first; go on with `cursor=next_cursor` while it is not null."""

    items: list[DeliveryView]
    next_cursor: str | None
