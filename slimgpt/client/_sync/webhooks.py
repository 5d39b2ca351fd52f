"""`client.webhooks`: addresses that are told when jobs end, and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from slimgpt.client._sync.transport import Transport
from slimgpt.client.models.webhooks import (
    Delivery,
    DeliveryDetail,
    DeliveryPage,
    JobEnd,
    Webhook,
    WebhookPage,
    WebhookWithSecret,
)
from slimgpt.client.requests import Request

WebhookRef = str | Webhook
DeliveryRef = str | Delivery


class Webhooks:
    """The caller's webhooks. A webhook is named by itself or by its id, and so is a delivery."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, url: str, *, events: Sequence[JobEnd] | None = None, description: str = ""
    ) -> WebhookWithSecret:
        """Have an address told when jobs end; only this answer has the secret.

        Args:
            events: default: all.
        """
        body: dict[str, Any] = {"url": url, "description": description}
        if events:
            body["events"] = list(events)
        request = Request(method="POST", path="/webhooks", json=body, repeatable=False)
        return WebhookWithSecret.model_validate(self._transport.json(request))

    def list(self, *, limit: int = 50, cursor: str | None = None) -> WebhookPage:
        """A page of webhooks, newest first."""
        request = Request(path="/webhooks", params={"limit": limit, "cursor": cursor})
        return WebhookPage.model_validate(self._transport.json(request))

    def get(self, webhook: WebhookRef) -> Webhook:
        """The webhook."""
        return Webhook.model_validate(self._transport.json(Request(path=_path(webhook))))

    def change(
        self,
        webhook: WebhookRef,
        *,
        events: Sequence[JobEnd] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given; the rest stays."""
        changes = {"events": events, "description": description, "enabled": enabled}
        body = {name: value for name, value in changes.items() if value is not None}
        request = Request(method="PATCH", path=_path(webhook), json=body)
        return Webhook.model_validate(self._transport.json(request))

    def delete(self, webhook: WebhookRef) -> None:
        """Delete a webhook and its log."""
        self._transport.text(Request(method="DELETE", path=_path(webhook), repeatable=False))

    def rotate(self, webhook: WebhookRef) -> WebhookWithSecret:
        """Replace the secret; the old one also signs for another 24 hours."""
        request = Request(method="POST", path=f"{_path(webhook)}/rotate", repeatable=False)
        return WebhookWithSecret.model_validate(self._transport.json(request))

    def test(self, webhook: WebhookRef) -> Delivery:
        """Send a test message; `delivery` tells whether it arrived."""
        request = Request(method="POST", path=f"{_path(webhook)}/test", repeatable=False)
        return Delivery.model_validate(self._transport.json(request))

    def deliveries(
        self, webhook: WebhookRef, *, limit: int = 50, cursor: str | None = None
    ) -> DeliveryPage:
        """A page of messages to a webhook and what became of them, newest first."""
        params = {"limit": limit, "cursor": cursor}
        request = Request(path=f"{_path(webhook)}/deliveries", params=params)
        return DeliveryPage.model_validate(self._transport.json(request))

    def delivery(self, webhook: WebhookRef, delivery: DeliveryRef) -> DeliveryDetail:
        """A message with its payload."""
        request = Request(path=_delivery(webhook, delivery))
        return DeliveryDetail.model_validate(self._transport.json(request))

    def redeliver(self, webhook: WebhookRef, delivery: DeliveryRef) -> Delivery:
        """Send a message again, now, under the same id."""
        path = f"{_delivery(webhook, delivery)}/redeliver"
        request = Request(method="POST", path=path, repeatable=False)
        return Delivery.model_validate(self._transport.json(request))


def _path(webhook: WebhookRef) -> str:
    return f"/webhooks/{_quoted(webhook)}"


def _delivery(webhook: WebhookRef, delivery: DeliveryRef) -> str:
    return f"{_path(webhook)}/deliveries/{_quoted(delivery)}"


def _quoted(one: WebhookRef | DeliveryRef) -> str:
    return quote(one if isinstance(one, str) else one.id, safe="")
