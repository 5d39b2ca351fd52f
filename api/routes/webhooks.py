"""`/webhooks`: create, list, update, delete, and rotate secrets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api.auth import Caller
from api.dependencies import ServicesDep, is_id
from api.http.concurrency_limit import ConcurrencyLimit
from api.http.paging import Cursor, Limit
from api.http.problems import Problem
from api.http.validation import FieldError, summary
from api.openapi import problems
from api.routes.jobs import declared_json
from api.schemas.examples import WEBHOOK_ID
from api.schemas.paths import VERSION
from api.schemas.webhooks import (
    WebhookChange,
    WebhookPage,
    WebhookRequest,
    WebhookView,
    WebhookWithSecret,
)
from api.services import Services
from jobs.messages.webhook_urls import InvalidWebhookUrl, WebhookUrls
from jobs.store.keys import BadKeyRequest
from jobs.store.webhooks.endpoints import TooManyWebhooks, Webhooks
from jobs.store.webhooks.records import Webhook
from jobs.store.webhooks.signatures import Signatures

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
_limit = ConcurrencyLimit("checks of addresses", 8, 2, "too-many-checks")
"""Hanging name servers must not block all threads of the API."""


def _webhook(
    services: ServicesDep,
    caller: Caller,
    webhook_id: Annotated[str, Path(description="The webhook's id.", examples=[WEBHOOK_ID])],
) -> Webhook:
    found = None  # another owner's webhook is not found, like an unknown one
    if is_id(webhook_id):
        found = Webhooks(services.engine).get(webhook_id, caller.scope)
    if found is None:
        raise not_found(webhook_id)
    return found


FoundWebhook = Annotated[Webhook, Depends(_webhook)]


def not_found(webhook_id: str) -> Problem:
    """The problem for a webhook that does not exist for this caller."""
    return Problem("webhook-not-found", f"there is no webhook {webhook_id[:64]!r}")


def signatures_of(services: Services) -> Signatures:
    """The signer of webhook messages.

    Raises:
        Problem: 503, the service has no pepper.
    """
    try:
        return Signatures(services.settings.key_pepper.get_secret_value())
    except BadKeyRequest as error:
        detail = "this service has no secret to sign with; its operator must set SLIMGPT_KEY_PEPPER"
        raise Problem("webhooks-unavailable", detail, headers={"Retry-After": "3600"}) from error


@router.post(
    "",
    status_code=201,
    dependencies=[Depends(declared_json)],
    responses=problems(400, 409, 413, 415, 422, 429, 503),
)
def create_webhook(
    body: WebhookRequest, services: ServicesDep, caller: Caller, response: Response
) -> WebhookWithSecret:
    """Register a URL that is notified when your jobs end. Only this response has the secret."""
    signatures = signatures_of(services)
    settings = services.settings
    try:
        with _limit.held(caller.owner, alone=services.keys is None):
            url = WebhookUrls(private=settings.webhook_allow_private).check(body.url)
        webhook = Webhooks(services.engine).create(
            url,
            signatures,
            owner=caller.owner,
            events=body.events,
            description=body.description,
            most=settings.max_webhooks,
        )
    except InvalidWebhookUrl as error:
        fault = FieldError(location="body", pointer="/url", message=str(error))
        raise Problem("invalid-request", summary([fault]), errors=[fault]) from error
    except TooManyWebhooks as error:
        raise Problem("too-many-webhooks", str(error)) from error
    response.headers["Location"] = f"{VERSION}/webhooks/{webhook.id}"
    return _with_secret(webhook, signatures)


@router.get("", responses=problems(422, 503))
def list_webhooks(
    services: ServicesDep,
    caller: Caller,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookPage:
    """Webhooks, newest first: the caller's own, and everybody's for an admin."""
    page = Webhooks(services.engine).list(caller.scope, limit=limit, cursor=cursor)
    items = [WebhookView.model_validate(webhook) for webhook in page.items]
    return WebhookPage(items=items, next_cursor=page.next_cursor)


@router.get("/{webhook_id}", responses=problems(404, 503))
def get_webhook(webhook: FoundWebhook) -> WebhookView:
    """Get a webhook."""
    return WebhookView.model_validate(webhook)


@router.patch(
    "/{webhook_id}",
    dependencies=[Depends(declared_json)],
    responses=problems(400, 404, 413, 415, 422, 503),
)
def change_webhook(
    body: WebhookChange, webhook: FoundWebhook, services: ServicesDep
) -> WebhookView:
    """Change the events or the description, enable or disable. The URL cannot be changed."""
    changed = Webhooks(services.engine).change(webhook.id, **body.model_dump(exclude_unset=True))
    if changed is None:
        raise not_found(webhook.id)
    return WebhookView.model_validate(changed)


@router.delete("/{webhook_id}", status_code=204, responses=problems(404, 503))
def delete_webhook(webhook: FoundWebhook, services: ServicesDep) -> None:
    """Delete a webhook and its log. A second request gets 404."""
    Webhooks(services.engine).remove(webhook.id)


@router.post("/{webhook_id}/rotate", responses=problems(404, 409, 503))
def rotate_webhook_secret(webhook: FoundWebhook, services: ServicesDep) -> WebhookWithSecret:
    """Replace the secret. For 24 hours messages are also signed with the previous one."""
    signatures = signatures_of(services)
    rotated = Webhooks(services.engine).rotate(webhook, signatures)
    if rotated is None:
        detail = f"another request has just changed the secret of {webhook.id}"
        raise Problem("webhook-changed", detail)
    return _with_secret(rotated, signatures)


def _with_secret(webhook: Webhook, signatures: Signatures) -> WebhookWithSecret:
    secret = signatures.secret(webhook.id, webhook.secret_version)
    shown = WebhookView.model_validate(webhook).model_dump()
    return WebhookWithSecret(**shown, secret=secret)
