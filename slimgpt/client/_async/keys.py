"""`client.keys`: the service's API keys, for admins."""

from __future__ import annotations

from urllib.parse import quote

from slimgpt.client._async.transport import AsyncTransport
from slimgpt.client.models.service import Key, KeyPage, KeyWithText
from slimgpt.client.requests import Request

KeyRef = str | Key


class AsyncKeys:
    """The API keys. A key is named by itself or by its id."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, owner: str, *, name: str = "", admin: bool = False) -> KeyWithText:
        """Create a key for an owner; only this answer has the key itself.

        Args:
            name: shown in lists: where it is used.
            admin: give access to the jobs of all owners, and to keys.
        """
        body = {"owner": owner, "name": name, "admin": admin}
        request = Request(method="POST", path="/keys", json=body, repeatable=False)
        return KeyWithText.model_validate(await self._transport.json(request))

    async def list(
        self, *, owner: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> KeyPage:
        """A page of keys, newest first, revoked ones too; `owner`: only theirs."""
        params = {"owner": owner, "limit": limit, "cursor": cursor}
        request = Request(path="/keys", params=params)
        return KeyPage.model_validate(await self._transport.json(request))

    async def revoke(self, key: KeyRef) -> Key:
        """Revoke another key than the caller's: it is refused from now on."""
        name = key if isinstance(key, str) else key.id
        request = Request(method="DELETE", path=f"/keys/{quote(name, safe='')}")
        return Key.model_validate(await self._transport.json(request))
