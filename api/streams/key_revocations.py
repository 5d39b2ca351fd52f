"""`KeyRevocations`: regularly checks the keys of event streams, which can last for hours."""

from __future__ import annotations

import asyncio
import contextvars
import time
from dataclasses import dataclass

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from jobs.store.keys import Keys

EVERY_SECONDS = 10.0
log = structlog.get_logger(__name__)


@dataclass
class _Known:
    asked: float
    lives: bool = True
    asking: asyncio.Task[None] | None = None


class KeyRevocations:
    """Checks each key in use once per interval, in the background, however many streams it has.

    Args:
        keys: the keys of the service; None if it requires none.
    """

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys
        self._known: dict[str, _Known] = {}

    def revoked(self, key_id: str | None) -> bool:
        """Whether the key was revoked, by the last check; starts a check if one is due."""
        if self._keys is None or key_id is None:
            return False
        now = time.monotonic()
        known = self._known.get(key_id)
        if known is None:
            self._forget_old(now)
            known = self._known[key_id] = _Known(now)
        if known.asking is None and now - known.asked >= EVERY_SECONDS:
            question = self._ask(self._keys, key_id, known)
            known.asking = asyncio.create_task(question, context=contextvars.Context())
        return not known.lives

    async def _ask(self, keys: Keys, key_id: str, known: _Known) -> None:
        try:
            known.lives = await run_in_threadpool(keys.lives, key_id)
        except SQLAlchemyError as error:
            log.warning("it is not known whether a key lives", reason=type(error).__name__)
        finally:
            known.asked, known.asking = time.monotonic(), None
        if not known.lives:
            log.info("streams end: their key was revoked", key=key_id)

    def _forget_old(self, now: float) -> None:
        """Drop keys that are no longer in use."""
        for key_id, known in list(self._known.items()):
            if known.asking is None and now - known.asked > 10 * EVERY_SECONDS:
                del self._known[key_id]
