"""`Deliveries`: the queue and log of webhook deliveries: claim, retry, outcome.

A sender claims one delivery at a time by a guarded update that starts an attempt and a lease. Its
later writes are guarded by the attempt's number: a sender whose lease expired overwrites nothing. A
delivery whose sender died is due again when the lease expires: messages arrive at least once,
with the same id.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, func, insert, select, update
from sqlalchemy import delete as remove

from jobs.cursors import make_cursor, read_cursor
from jobs.store.clock import from_now
from jobs.store.database import READ_ONLY
from jobs.store.records import Page
from jobs.store.tables import DELIVERIES, WEBHOOKS
from jobs.store.webhooks.endpoints import disable, note_outcome
from jobs.store.webhooks.outbox import new_delivery
from jobs.store.webhooks.records import Delivery, DeliveryOutcome, DeliveryStatus, Webhook

LEASE_SECONDS = 60.0
"""Longer than any attempt."""
MOST_OF_WEBHOOK = 2
MOST_OF_OWNER = 4
MAX_LOG = 50
REMOVED_AT_ONCE = 1000
GONE = "the receiver answered 410 Gone"
FAILING = "nothing was delivered for days"
INTERRUPTED = "the sender stopped before a response arrived"
_COLUMNS = tuple(DELIVERIES.c[name] for name in Delivery.__dataclass_fields__)


class Deliveries:
    """The deliveries of one database.

    Args:
        engine: from `jobs.store.database.make_engine`, the schema at its newest version.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def claim(self, lease_seconds: float = LEASE_SECONDS) -> Delivery | None:
        """Claim the delivery that has been due longest; None if none may be sent now.

        The number of concurrent deliveries per webhook and per owner is limited, over all senders.
        """
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            if connection.execute(_due()).first() is None:
                return None
        due = _due().with_for_update(of=DELIVERIES, skip_locked=True)
        chosen = due.correlate(None).scalar_subquery()
        lease = from_now(lease_seconds)
        claimed = (
            update(DELIVERIES)
            .where(
                DELIVERIES.c.id == chosen,
                DELIVERIES.c.status == DeliveryStatus.PENDING,
                DELIVERIES.c.next_at <= from_now(),
            )
            .values(attempts=DELIVERIES.c.attempts + 1, next_at=lease, lease_expires_at=lease)
            .returning(*_COLUMNS)
        )
        with self.engine.begin() as connection:
            row = connection.execute(claimed).mappings().one_or_none()
        return None if row is None else delivery_of(row)

    def record(
        self,
        delivery: Delivery,
        outcome: DeliveryOutcome,
        again_in: float | None,
        disable_after: float,
    ) -> bool:
        """Record the outcome of an attempt begun by `claim`.

        Args:
            again_in: seconds until the next attempt if this one failed; None after the last.
            disable_after: seconds without success after which the webhook is disabled when a
                delivery fails finally.

        Returns:
            False if another sender has the delivery, or it is finished; nothing was written.
        """
        values: dict[str, Any] = {"log": _logged(delivery, outcome), "lease_expires_at": None}
        if outcome.delivered or outcome.gone:
            again_in = None
        if again_in is None:
            over = DeliveryStatus.DELIVERED if outcome.delivered else DeliveryStatus.FAILED
            values |= {"status": over, "next_at": None, "finished_at": from_now()}
        else:
            values |= {"next_at": from_now(again_in)}
        guarded = update(DELIVERIES).where(
            DELIVERIES.c.id == delivery.id,
            DELIVERIES.c.status == DeliveryStatus.PENDING,
            DELIVERIES.c.attempts == delivery.attempts,
        )
        with self.engine.begin() as connection:
            # Lock the webhook before its deliveries, everywhere: a consistent order.
            _lock(connection, delivery.webhook_id)
            if connection.execute(guarded.values(values)).rowcount == 0:
                return False
            if not (outcome.delivered or outcome.gone):
                _renew(connection, delivery)
            failing = note_outcome(connection, delivery.webhook_id, delivered=outcome.delivered)
            if outcome.gone:
                disable(connection, delivery.webhook_id, GONE)
            elif again_in is None and failing >= disable_after:
                disable(connection, delivery.webhook_id, FAILING)
        return True

    def add(self, webhook: Webhook, event: str, body: str) -> Delivery | None:
        """Add a message that is not about a job; None if the webhook is deleted or disabled."""
        row = new_delivery(webhook.id, webhook.owner, event, body)
        row |= {"next_at": from_now(), "created_at": from_now()}
        with self.engine.begin() as connection:
            if not _lock(connection, webhook.id):
                return None
            made = connection.execute(insert(DELIVERIES).values(row).returning(*_COLUMNS))
            return delivery_of(made.mappings().one())

    def again(self, delivery: Delivery) -> Delivery | None:
        """Schedule a delivery again, with the attempts of a new one; None as for `add`.

        An attempt in progress is finished first.
        """
        renewed = (
            update(DELIVERIES)
            .where(DELIVERIES.c.id == delivery.id)
            .values(
                status=DeliveryStatus.PENDING,
                attempts_before=DELIVERIES.c.attempts,
                next_at=func.coalesce(DELIVERIES.c.lease_expires_at, from_now()),
                finished_at=None,
            )
            .returning(*_COLUMNS)
        )
        with self.engine.begin() as connection:
            if not _lock(connection, delivery.webhook_id):
                return None
            row = connection.execute(renewed).mappings().one_or_none()
        return None if row is None else delivery_of(row)

    def get(self, delivery_id: str, webhook_id: str) -> Delivery | None:
        """The delivery; None if the webhook has no such delivery."""
        found = select(*_COLUMNS).where(
            DELIVERIES.c.id == delivery_id, DELIVERIES.c.webhook_id == webhook_id
        )
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            row = connection.execute(found).mappings().one_or_none()
        return None if row is None else delivery_of(row)

    def list(
        self, webhook_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Delivery]:
        """A webhook's deliveries, newest first.

        Raises:
            jobs.cursors.InvalidCursor: the cursor was not returned by this method.
        """
        of_webhook = select(*_COLUMNS).where(DELIVERIES.c.webhook_id == webhook_id)
        statement = of_webhook.order_by(DELIVERIES.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(DELIVERIES.c.id < read_cursor(cursor, "msg_"))
        with self.engine.execution_options(**READ_ONLY).connect() as connection:
            found = [delivery_of(row) for row in connection.execute(statement).mappings()]
        more = len(found) > limit
        return Page(found[:limit], make_cursor(found[limit - 1].id) if more else None)

    def forget(self, older_than: float) -> int:
        """Delete deliveries that finished so many seconds ago; returns their number."""
        over = DELIVERIES.c.status.in_([DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
        old = (
            select(DELIVERIES.c.id)
            .where(over, DELIVERIES.c.finished_at < from_now(-older_than))
            .limit(REMOVED_AT_ONCE)
        )
        with self.engine.begin() as connection:
            statement = remove(DELIVERIES).where(DELIVERIES.c.id.in_(old), over)
            return connection.execute(statement).rowcount


def count_deliveries(engine: Engine) -> dict[str, int]:
    """Number of deliveries in the log by status, zeros included."""
    counted = select(DELIVERIES.c.status, func.count()).group_by(DELIVERIES.c.status)
    with engine.execution_options(**READ_ONLY).connect() as connection:
        found = {row[0]: row[1] for row in connection.execute(counted)}
    return dict.fromkeys(map(str, DeliveryStatus), 0) | found


def delivery_of(row: RowMapping) -> Delivery:
    """The delivery of a row of `Delivery`'s columns."""
    return Delivery(**{**row, "status": DeliveryStatus(row["status"])})


def _due() -> Select[tuple[str]]:
    """The id of the delivery due longest, of webhooks and owners below their limits."""
    under_way = DELIVERIES.alias("under_way")

    def busy(name: str, most: int) -> Select[tuple[str]]:
        column = under_way.c[name]
        leased = select(column).where(under_way.c.lease_expires_at > from_now())
        return leased.group_by(column).having(func.count() >= most)

    return (
        select(DELIVERIES.c.id)
        .join(WEBHOOKS, WEBHOOKS.c.id == DELIVERIES.c.webhook_id)
        .where(
            DELIVERIES.c.status == DeliveryStatus.PENDING,
            DELIVERIES.c.next_at <= from_now(),
            WEBHOOKS.c.enabled.is_(True),
            DELIVERIES.c.webhook_id.not_in(busy("webhook_id", MOST_OF_WEBHOOK)),
            DELIVERIES.c.owner.not_in(busy("owner", MOST_OF_OWNER)),
        )
        .order_by(DELIVERIES.c.next_at, DELIVERIES.c.id)
        .limit(1)
    )


def _renew(connection: Connection, delivery: Delivery) -> None:
    """Schedule it again if that was requested during this attempt."""
    asked = update(DELIVERIES).where(
        DELIVERIES.c.id == delivery.id, DELIVERIES.c.attempts_before > delivery.attempts_before
    )
    pending = DeliveryStatus.PENDING
    connection.execute(asked.values(status=pending, next_at=from_now(), finished_at=None))


def _lock(connection: Connection, webhook_id: str) -> bool:
    """Lock the webhook's row; False if it is deleted or disabled."""
    held = select(WEBHOOKS.c.enabled).where(WEBHOOKS.c.id == webhook_id).with_for_update()
    return bool(connection.execute(held).scalar_one_or_none())


def _logged(delivery: Delivery, outcome: DeliveryOutcome) -> list[dict[str, Any]]:
    """The log with this attempt, and with interrupted ones before it."""
    known = delivery.log[-1]["attempt"] if delivery.log else 0
    lost = [
        {"attempt": n, "at": None, "status_code": None, "error": INTERRUPTED, "seconds": None}
        for n in range(known + 1, delivery.attempts)
    ]
    entry = {
        "attempt": delivery.attempts,
        "at": outcome.at.isoformat(),
        "status_code": outcome.status_code,
        "error": outcome.error,
        "seconds": round(outcome.seconds, 3),
    }
    return [*delivery.log, *lost, entry][-MAX_LOG:]
