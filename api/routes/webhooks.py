"""`/webhooks`: create, list, update, delete, and rotate secrets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api.auth import Caller
from api.dependencies import ServicesDep
from api.http.owner_shares import OwnerShares
from api.http.paging import Cursor, Limit
from api.http.problems import Problem
from api.http.validation import FieldError, summary
from api.openapi import problems
from api.routes.jobs import declared_json
from api.schemas.examples import WEBHOOK_ID
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
_CHECKS = OwnerShares("checks of addresses", 8, 2, "too-many-checks")
"""Name servers that hang must not take every thread of the API."""


def _webhook(
    services: ServicesDep,
    caller: Caller,
    webhook_id: Annotated[str, Path(description="The webhook's id.", examples=[WEBHOOK_ID])],
) -> Webhook:
    # As for jobs: another's is not found, and what no id can be never reaches the database.
    well_formed = webhook_id.isascii() and webhook_id.replace("_", "").isalnum()
    found = None
    if well_formed and len(webhook_id) <= 40:
        found = Webhooks(services.engine).get(webhook_id, caller.scope)
    if found is None:
        raise not_found(webhook_id)
    return found


FoundWebhook = Annotated[Webhook, Depends(_webhook)]


def not_found(webhook_id: str) -> Problem:
    """That there is no such webhook, for this caller."""
    return Problem("webhook-not-found", f"there is no webhook {webhook_id[:64]!r}")


def signatures_of(services: Services) -> Signatures:
    """What signs messages.

    Raises:
        Problem: 503, the service has no pepper.
    """
    try:
        return Signatures(services.settings.key_pepper.get_secret_value())
    except BadKeyRequest as error:
        detail = "this service has no secret to sign with: its operator sets SLIMGPT_KEY_PEPPER"
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
    """Have an address told when your jobs end. The answer holds the secret, this once."""
    signatures = signatures_of(services)
    settings = services.settings
    try:
        with _CHECKS.held(caller.owner, alone=services.keys is None):
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
    response.headers["Location"] = f"/webhooks/{webhook.id}"
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
    """A webhook as it is now."""
    return WebhookView.model_validate(webhook)


@router.patch(
    "/{webhook_id}",
    dependencies=[Depends(declared_json)],
    responses=problems(400, 404, 413, 415, 422, 503),
)
def change_webhook(
    body: WebhookChange, webhook: FoundWebhook, services: ServicesDep
) -> WebhookView:
    """Change what is told, or whether. For another address make another webhook."""
    changed = Webhooks(services.engine).change(webhook.id, **body.model_dump(exclude_unset=True))
    if changed is None:
        raise not_found(webhook.id)
    return WebhookView.model_validate(changed)


@router.delete("/{webhook_id}", status_code=204, responses=problems(404, 503))
def delete_webhook(webhook: FoundWebhook, services: ServicesDep) -> None:
    """Remove a webhook with its log. Asked again: 404."""
    Webhooks(services.engine).remove(webhook.id)


@router.post("/{webhook_id}/rotate", responses=problems(404, 409, 503))
def rotate_secret(webhook: FoundWebhook, services: ServicesDep) -> WebhookWithSecret:
    """Give a webhook a new secret. For 24 hours messages are signed with the one before as well."""
    signatures = signatures_of(services)
    rotated = Webhooks(services.engine).rotate(webhook, signatures)
    if rotated is None:
        detail = f"the secret of {webhook.id} was changed by another request just now"
        raise Problem("webhook-changed", detail)
    return _with_secret(rotated, signatures)


def _with_secret(webhook: Webhook, signatures: Signatures) -> WebhookWithSecret:
    secret = signatures.secret(webhook.id, webhook.secret_version)
    shown = WebhookView.model_validate(webhook).model_dump()
    return WebhookWithSecret(**shown, secret=secret)
