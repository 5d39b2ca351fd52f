"""`Webhooks`: registered webhook endpoints: create, update, delete, disable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from jobs.cursors import make_cursor, read_cursor
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY, lock_owner
from jobs.store.records import Page, new_id
from jobs.store.tables import DELIVERIES, WEBHOOKS
from jobs.store.webhooks.records import DeliveryStatus, Webhook
from jobs.store.webhooks.signatures import ROTATION_SECONDS, Signatures


class TooManyWebhooks(Exception):  # noqa: N818 - says what is the case
    """The owner has reached the limit of webhooks."""


class Webhooks:
    """The webhooks of one database.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(
        self,
        url: str,
        signatures: Signatures,
        *,
        owner: str,
        events: Sequence[str],
        description: str = "",
        most: int,
    ) -> Webhook:
        """Create a webhook; `WebhookUrls.check` has validated the URL.

        Raises:
            TooManyWebhooks: the owner has `most` already.
        """
        webhook_id = new_id("wh")
        row = {
            "id": webhook_id,
            "owner": owner,
            "url": url,
            "description": description,
            "events": list(events),
            "enabled": True,
            "secret_version": 1,
            "secret_check": signatures.check(webhook_id, 1),
            "created_at": from_now(),
            "updated_at": from_now(),
        }
        with self.engine.begin() as connection:
            made = connection.execute(insert(WEBHOOKS).values(row).returning(WEBHOOKS))
            webhook = webhook_of(made.mappings().one())
            _require_within(connection, owner, most)
        return webhook

    def get(self, webhook_id: str, owner: str | None = None) -> Webhook | None:
        """The webhook; None if it does not exist or has another owner."""
        found = select(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id)
        if owner is not None:
            found = found.where(WEBHOOKS.c.owner == owner)
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            row = connection.execute(found).mappings().one_or_none()
        return None if row is None else webhook_of(row)

    def list(
        self, owner: str | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Webhook]:
        """A page of webhooks, newest first; of all owners if None.

        Raises:
            jobs.cursors.InvalidCursor: the cursor was not returned by this method.
        """
        statement = select(WEBHOOKS).order_by(WEBHOOKS.c.id.desc()).limit(limit + 1)
        if owner is not None:
            statement = statement.where(WEBHOOKS.c.owner == owner)
        if cursor is not None:
            statement = statement.where(WEBHOOKS.c.id < read_cursor(cursor, "wh_"))
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            found = [webhook_of(row) for row in connection.execute(statement).mappings()]
        more = len(found) > limit
        return Page(found[:limit], make_cursor(found[limit - 1].id) if more else None)

    def change(self, webhook_id: str, **values: Any) -> Webhook | None:
        """Change `events`, `description` or `enabled`; None if it is deleted.

        Disabling it fails its pending deliveries. Enabling it resets its record of failures.
        """
        if values.get("enabled") is True:
            values |= {"disabled_reason": None, "failing_since": None}
        changed = (
            update(WEBHOOKS)
            .where(WEBHOOKS.c.id == webhook_id)
            .values(updated_at=from_now(), **values)
            .returning(WEBHOOKS)
        )
        with self.engine.begin() as connection:
            row = connection.execute(changed).mappings().one_or_none()
            if row is not None and not row["enabled"]:
                give_up(connection, webhook_id)
        return None if row is None else webhook_of(row)

    def rotate(self, webhook: Webhook, signatures: Signatures) -> Webhook | None:
        """Rotate the secret; the previous one also signs for a day.

        Returns:
            None if the webhook is deleted, or another rotation was faster.
        """
        version = webhook.secret_version + 1
        until = from_now(ROTATION_SECONDS) if signatures.knows(webhook) else None
        rotated = (
            update(WEBHOOKS)
            .where(WEBHOOKS.c.id == webhook.id, WEBHOOKS.c.secret_version == version - 1)
            .values(
                secret_version=version,
                secret_check=signatures.check(webhook.id, version),
                previous_until=until,
                updated_at=from_now(),
            )
            .returning(WEBHOOKS)
        )
        with self.engine.begin() as connection:
            row = connection.execute(rotated).mappings().one_or_none()
        return None if row is None else webhook_of(row)

    def remove(self, webhook_id: str) -> bool:
        """Delete a webhook and its log. False if it does not exist."""
        statement = delete(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id)
        with self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1


def disable(connection: Connection, webhook_id: str, reason: str) -> None:
    """Disable a webhook, if enabled, and fail its pending deliveries."""
    off = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id, WEBHOOKS.c.enabled.is_(True))
    connection.execute(off.values(enabled=False, disabled_reason=reason, updated_at=from_now()))
    give_up(connection, webhook_id)


def give_up(connection: Connection, webhook_id: str) -> None:
    """Fail the pending deliveries of a webhook; they can be redelivered."""
    waiting = update(DELIVERIES).where(
        DELIVERIES.c.webhook_id == webhook_id, DELIVERIES.c.status == DeliveryStatus.PENDING
    )
    connection.execute(
        waiting.values(
            status=DeliveryStatus.FAILED,
            next_at=None,
            lease_expires_at=None,
            finished_at=from_now(),
        )
    )


def webhook_of(row: RowMapping) -> Webhook:
    """The webhook of a row of `WEBHOOKS`."""
    return Webhook(**row)


def note_outcome(connection: Connection, webhook_id: str, *, delivered: bool) -> float:
    """Record since when a webhook has failed; returns the number of seconds."""
    since = None if delivered else func.coalesce(WEBHOOKS.c.failing_since, from_now())
    noted = update(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id).values(failing_since=since)
    returned = connection.execute(noted.returning(WEBHOOKS.c.failing_since, from_now()))
    row = returned.one_or_none()
    return (row[1] - row[0]).total_seconds() if row is not None and row[0] is not None else 0.0


def _require_within(connection: Connection, owner: str, most: int) -> None:
    """As `jobs.store.lists.quotas.require_within`, for webhooks.

    Raises:
        TooManyWebhooks: there are more than `most`, the new one included.
    """
    lock_owner(connection, "webhooks", owner)
    count = select(func.count()).where(WEBHOOKS.c.owner == owner)
    if connection.execute(count).scalar_one() > most:
        raise TooManyWebhooks(f"{owner} has {most} webhooks, which is the limit")
