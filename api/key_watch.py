"""`KeyWatch`: periodic re-checks of the API key during long-lived responses."""

from __future__ import annotations

import time

import structlog
from fastapi.concurrency import run_in_threadpool

from api.auth import Identity
from jobs.store.keys import Keys

EVERY_SECONDS = 30.0
log = structlog.get_logger(__name__)


class KeyWatch:
    """Looks after one caller's key, from the moment it was let in.

    Args:
        keys: those of the service; None where nobody is asked for one.
        caller: who opened the answer.
    """

    def __init__(self, keys: Keys | None, caller: Identity) -> None:
        self._keys = keys
        self._key_id = caller.key_id
        self._next = time.monotonic() + EVERY_SECONDS

    async def revoked(self) -> bool:
        """Whether it was revoked; the database is asked every `EVERY_SECONDS`."""
        if self._keys is None or self._key_id is None or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY_SECONDS
        if await run_in_threadpool(self._keys.lives, self._key_id):
            return False
        log.info("stream ended: its key was revoked", key=self._key_id)
        return True
