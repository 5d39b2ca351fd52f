"""`/keys`: lists, creates and revokes API keys; for admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Caller, Identity
from api.dependencies import ServicesDep, is_id
from api.http.paging import Cursor, Limit
from api.http.problems import Problem
from api.http.validation import FieldError, summary
from api.openapi import problems
from api.routes.jobs import declared_json
from jobs.store.keys import MAX_NAME, OWNER, BadKeyRequest, Keys, page_of_keys, revoke_key

KEY_ID = "key_0123456789ab"
log = structlog.get_logger(__name__)


def admin(caller: Caller) -> Identity:
    """The caller, who is an admin.

    Raises:
        Problem: 403, they are not.
    """
    if not caller.admin:
        raise Problem("not-admin", "keys of all owners are for admins")
    return caller


Admin = Annotated[Identity, Depends(admin)]
router = APIRouter(prefix="/keys", tags=["service"])


class KeyView(BaseModel):
    """An API key, without the key itself. Times are in UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=[KEY_ID])
    owner: str = Field(examples=["ada"])
    name: str = Field(examples=["laptop"])
    admin: bool = Field(description="Whether it gives access to the jobs of all owners.")
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute; null: never.")
    revoked_at: datetime | None = Field(description="null: it is valid.")


class KeyWithText(KeyView):
    """A new key, with the key itself, which is not shown again."""

    key: str = Field(description="Send it as `Authorization: Bearer`.", examples=["slim_…"])


class KeyPage(BaseModel):
    """A page of keys, newest first; the next page has `cursor=next_cursor`, unless it is null."""

    items: list[KeyView]
    next_cursor: str | None


class KeyRequest(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid")

    owner: str = Field(
        pattern=OWNER,
        max_length=128,
        description="Whose jobs it gives access to.",
        examples=["ada"],
    )
    name: str = Field(
        "",
        max_length=MAX_NAME,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Shown in lists: where it is used.",
    )
    admin: bool = Field(False, description="Give access to the jobs of all owners, and to keys.")


@router.get("", responses=problems(403, 422, 503))
def list_keys(
    services: ServicesDep,
    caller: Admin,
    owner: Annotated[
        str | None, Query(pattern=OWNER, description="Only this owner's keys.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> KeyPage:
    """List API keys, newest first, revoked ones too."""
    page = page_of_keys(services.engine, owner, limit=limit, cursor=cursor)
    items = [KeyView.model_validate(key) for key in page.items]
    return KeyPage(items=items, next_cursor=page.next_cursor)


@router.post(
    "",
    status_code=201,
    dependencies=[Depends(declared_json)],
    responses=problems(400, 403, 409, 413, 415, 422, 503),
)
def create_key(body: KeyRequest, services: ServicesDep, caller: Admin) -> KeyWithText:
    """Create a key for an owner. Only this response has the key itself."""
    keys = _keys(services.keys)
    try:
        made = keys.create(body.owner, name=body.name, admin=body.admin)
    except BadKeyRequest as error:
        fault = FieldError(location="body", pointer="/name", message=str(error))
        raise Problem("invalid-request", summary([fault]), errors=[fault]) from error
    log.info("key created", made=made.key.id, owner=made.key.owner, admin=made.key.admin)
    shown = KeyView.model_validate(made.key).model_dump()
    return KeyWithText(**shown, key=made.text)


@router.delete("/{key_id}", responses=problems(403, 404, 409, 503))
def revoke(
    key_id: Annotated[str, Path(description="The key's id.", examples=[KEY_ID])],
    services: ServicesDep,
    caller: Admin,
) -> KeyView:
    """Revoke another key: it is refused from now on. A second request changes nothing."""
    if key_id == caller.key_id:  # a slip would lock the last admin out
        raise Problem("key-in-use", f"{key_id} is the key of this request")
    found = revoke_key(services.engine, key_id) if is_id(key_id) else None
    if found is None:
        raise Problem("key-not-found", f"there is no key {key_id[:64]!r}")
    log.info("key revoked", revoked=found.id, owner=found.owner)
    return KeyView.model_validate(found)


def _keys(keys: Keys | None) -> Keys:
    if keys is None:
        raise Problem("keys-off", "this service answers its own machine without keys")
    return keys
