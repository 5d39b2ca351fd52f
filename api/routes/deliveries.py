"""`/webhooks/{id}/deliveries`: the delivery log, test messages and redelivery."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from api.dependencies import ServicesDep, is_id
from api.http.paging import Cursor, Limit
from api.http.problems import Problem
from api.openapi import problems
from api.routes.webhooks import FoundWebhook, signatures_of
from api.schemas.examples import DELIVERY_ID
from api.schemas.webhooks import DeliveryDetail, DeliveryPage, DeliveryView
from jobs.store.webhooks.deliveries import Deliveries
from jobs.store.webhooks.records import TEST_EVENT, Delivery

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


def _delivery(
    webhook: FoundWebhook,
    services: ServicesDep,
    delivery_id: Annotated[str, Path(description="The delivery's id.", examples=[DELIVERY_ID])],
) -> Delivery:
    found = None
    if is_id(delivery_id):
        found = Deliveries(services.engine).get(delivery_id, webhook.id)
    if found is None:
        detail = f"webhook {webhook.id} has no delivery {delivery_id[:64]!r}"
        raise Problem("delivery-not-found", detail)
    return found


FoundDelivery = Annotated[Delivery, Depends(_delivery)]


@router.post("/{webhook_id}/test", status_code=202, responses=problems(404, 409, 503))
def test_webhook(webhook: FoundWebhook, services: ServicesDep) -> DeliveryView:
    """Send the event `webhook.test`. The list of deliveries shows whether it arrived."""
    signatures_of(services)
    now = datetime.now(UTC).isoformat()
    data = {"webhook_id": webhook.id, "owner": webhook.owner}
    body = json.dumps({"type": TEST_EVENT, "timestamp": now, "data": data}, separators=(",", ":"))
    delivery = Deliveries(services.engine).add(webhook, TEST_EVENT, body)
    if delivery is None:
        raise _disabled(webhook.id)
    return DeliveryView.model_validate(delivery)


@router.get("/{webhook_id}/deliveries", responses=problems(404, 422, 503))
def list_deliveries(
    webhook: FoundWebhook,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """List deliveries with their attempts, newest first, including those of deleted jobs."""
    page = Deliveries(services.engine).list(webhook.id, limit=limit, cursor=cursor)
    items = [DeliveryView.model_validate(delivery) for delivery in page.items]
    return DeliveryPage(items=items, next_cursor=page.next_cursor)


@router.get("/{webhook_id}/deliveries/{delivery_id}", responses=problems(404, 503))
def get_delivery(delivery: FoundDelivery) -> DeliveryDetail:
    """Get a delivery with its payload."""
    shown = DeliveryView.model_validate(delivery).model_dump()
    return DeliveryDetail(**shown, payload=json.loads(delivery.body))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=problems(404, 409, 503),
)
def redeliver_delivery(delivery: FoundDelivery, services: ServicesDep) -> DeliveryView:
    """Send a message again now, with the same `webhook-id` and all retries of a new one."""
    signatures_of(services)
    again = Deliveries(services.engine).again(delivery)
    if again is None:
        raise _disabled(delivery.webhook_id)
    return DeliveryView.model_validate(again)


def _disabled(webhook_id: str) -> Problem:
    return Problem("webhook-disabled", f"webhook {webhook_id} is disabled; enable it first")
