"""Prometheus metrics of a worker, counted in Celery's child process.

All labels have a bounded set of values: no ids, owners or models, and only known error codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from jobs.metrics.exposition import new_registry
from jobs.store.records import Claim
from slimgpt import errors
from slimgpt.events import Event, LayerFinished, Stage, StageFinished

REGISTRY = new_registry()
MOMENTS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
STEPS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
OWN_CODES = (
    "engine-crashed",
    "engine-hung",
    "engine-killed",
    "engine-protocol",
    "publish-failed",
    "spec-not-understood",
    "time-limit",
    "worker-error",
)

_claims = Histogram(
    "slimgpt_claim_latency_seconds",
    "Time from a job's entry into the queue to a worker's claim, by the database's clock.",
    buckets=MOMENTS,
    registry=REGISTRY,
)
_duplicates = Counter(
    "slimgpt_duplicate_messages",
    "Messages without a job behind them: delivered twice, late, or of a cancelled job.",
    registry=REGISTRY,
)
_attempts = Counter(
    "slimgpt_attempts",
    "Attempts that this worker ended, by what became of the job.",
    ["outcome"],
    registry=REGISTRY,
)
_failures = Counter(
    "slimgpt_failures", "Jobs that failed here, by code.", ["code"], registry=REGISTRY
)
_layers = Histogram(
    "slimgpt_layer_seconds",
    "Time that a decoder layer took; layers taken over from an earlier attempt aside.",
    buckets=STEPS,
    registry=REGISTRY,
)
_stages = Histogram(
    "slimgpt_stage_seconds",
    "Time that a stage of a job took.",
    ["stage"],
    buckets=STEPS,
    registry=REGISTRY,
)
published_bytes = Counter(
    "slimgpt_published_bytes", "Bytes of checkpoints put into the artifact store.",
    registry=REGISTRY,
)  # fmt: skip
layer_copy_failures = Counter(
    "slimgpt_layer_copy_failures",
    "Finished layers that could not be copied into the artifact store.",
    registry=REGISTRY,
)
busy = Gauge("slimgpt_worker_busy", "Whether this worker has a job.", registry=REGISTRY)
last_poll = Gauge(
    "slimgpt_worker_last_poll_timestamp_seconds",
    "When this worker last polled the broker, or looked after the lease of its job.",
    registry=REGISTRY,
)


def _codes(kind: type[errors.SlimGPTError]) -> Iterator[str]:
    yield kind.code
    for narrower in kind.__subclasses__():
        yield from _codes(narrower)


KNOWN_CODES = frozenset({*OWN_CODES, *_codes(errors.SlimGPTError)})


def claimed(claim: Claim, lease_seconds: float) -> None:
    """Record a claim; the lease began then, and both times are by the database's clock."""
    waited = (claim.lease_expires_at - claim.job.queued_at).total_seconds() - lease_seconds
    _claims.observe(max(0.0, waited))


def duplicate() -> None:
    """Count a message without a job to claim."""
    _duplicates.inc()


def ended(outcome: str) -> None:
    """Count a finished attempt; `outcome` is a `worker.job.supervisor.Outcome`."""
    _attempts.labels(outcome).inc()


def failed(code: str) -> None:
    """Count a failed job; an unknown code counts as `other`."""
    _failures.labels(code if code in KNOWN_CODES else "other").inc()


def record_event(event: Event) -> None:
    """Record an event of the engine or the worker."""
    if isinstance(event, StageFinished):
        _stages.labels(event.stage).observe(event.seconds)
    elif isinstance(event, LayerFinished) and not event.resumed:
        _layers.observe(event.seconds)


# A counter that begins with its first event hides that event from `increase`.
for _code in sorted({*KNOWN_CODES, "other"}):
    _failures.labels(_code)
for _stage in get_args(Stage):
    _stages.labels(_stage)
for _outcome in ("succeeded", "failed", "cancelled", "released", "killed", "lost"):
    _attempts.labels(_outcome)
