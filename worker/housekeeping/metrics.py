"""Prometheus metrics of the reaper process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from jobs.metrics.exposition import new_registry

REGISTRY = new_registry()
lease_expiries = Counter(
    "slimgpt_lease_expiries",
    "Jobs taken from workers that fell silent, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
resent = Counter(
    "slimgpt_messages_resent",
    "Messages sent again because the first was lost, never sent, or in vain.",
    registry=REGISTRY,
)
deliveries = Counter(
    "slimgpt_webhook_deliveries",
    "Attempts to tell a webhook, by how they ended: delivered, to be tried again, given up.",
    ["outcome"],
    registry=REGISTRY,
)
expired_results = Counter(
    "slimgpt_expired_results",
    "Jobs whose files were removed, for their age or to make room.",
    ["why"],
    registry=REGISTRY,
)
last_look = Gauge(
    "slimgpt_loop_last_success_timestamp_seconds",
    "When a loop of this process last did all that was due.",
    ["loop"],
    registry=REGISTRY,
)
failed_looks = Counter(
    "slimgpt_loop_failures",
    "How often a loop of this process could not do what was due.",
    ["loop"],
    registry=REGISTRY,
)


# A counter that begins with its first event hides that event from `increase`.
for _status in ("queued", "failed", "cancelled"):
    lease_expiries.labels(_status)
for _outcome in ("delivered", "again", "given_up"):
    deliveries.labels(_outcome)
for _why in ("age", "room"):
    expired_results.labels(_why)
