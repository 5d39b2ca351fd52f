"""What the store hands out: jobs, layers, claims, pages. Plain, frozen, no database behind."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from jobs.states import TERMINAL, Status
from slimgpt.config import PruneSpec

T = TypeVar("T")
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def new_job_id() -> str:
    """A ULID after `job_`: 48 bits of milliseconds, 80 random bits; sorts by creation."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "job_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it was when it was read. Times are aware, in UTC."""

    id: str
    owner: str
    idempotency_key: str | None
    spec: PruneSpec
    metadata: dict[str, str]
    status: Status
    stage: str | None
    lease_epoch: int
    attempt: int
    max_attempts: int
    worker: str | None
    lease_expires_at: datetime | None
    cancel_requested: bool
    layers_total: int | None
    layers_done: int
    plan: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    """`code`, `message` and `hint` of a failed job."""
    warnings: list[dict[str, Any]] = field(default_factory=list)
    """`message` and `layer` (or None) of each, in order."""
    artifacts_prefix: str | None = None
    created_at: datetime = field(kw_only=True)
    queued_at: datetime = field(kw_only=True)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = field(kw_only=True)
    dispatched_at: datetime | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job is over, unless somebody asks to try it again."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Layer:
    """One pruned decoder layer; the fields of `slimgpt.events.LayerFinished` and who made it."""

    job_id: str
    layer: int
    epoch: int
    layers_total: int
    heads_before: int
    heads: int
    kv_heads_before: int
    kv_heads: int
    channels_before: int
    channels: int
    parameters_before: int
    parameters: int
    attention_error: float
    ffn_error: float
    attention_damping: float
    ffn_damping: float
    seconds: float
    resumed: bool
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list; `next_cursor` is None on the last page."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job, until the lease runs out. `epoch` guards every write."""

    job: Job
    epoch: int
    attempt: int
    lease_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease that still holds, and whether the job's owner wants it cancelled."""

    lease_expires_at: datetime
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Reaped:
    """A job whose worker fell silent, and what became of it: queued, failed or cancelled."""

    id: str
    status: Status
    attempt: int
