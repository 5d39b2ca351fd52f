"""Records returned by the store: jobs, layers, claims, pages; plain frozen dataclasses."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from jobs.states import TERMINAL, Status
from slimgpt.spec.prune import PruneSpec

MAX_FAULTS = 5
MAX_NAME = 128
EARLIER_ATTEMPTS = "earlier attempts"
"""Time of a job before the attempt that succeeded, among its stages."""
LEAST_ATTEMPT_SECONDS = 1.0
UNKNOWN_TARGET = "a target that this version does not understand"
T = TypeVar("T")
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"  # digits of Crockford's base 32


def new_id(kind: str) -> str:
    """`kind_` and a ULID: 48 bits of milliseconds, 80 random bits; sorts by creation time."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{kind}_" + "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def wall_seconds(started_at: datetime | None, finished_at: datetime | None) -> float | None:
    """The one duration of a job: from its first claim to its end, publication included."""
    if started_at is None or finished_at is None:
        return None
    return max(0.0, (finished_at - started_at).total_seconds())


def whole_stages(stored: Any, seconds: float | None) -> dict[str, float] | None:
    """The stages of the attempt that succeeded, completed so that they add up to the job's time.

    What is left over by less than a second is the commit of the end, and belongs to the last stage;
    more is time of earlier attempts, and between them.
    """
    if not isinstance(stored, dict) or not stored or seconds is None:
        return None
    found = {str(name): float(one) for name, one in stored.items()}
    over = seconds - sum(found.values())
    if over >= LEAST_ATTEMPT_SECONDS:
        return {EARLIER_ATTEMPTS: over, **found}
    last = [*found][-1]
    return found | {last: found[last] + over}


@dataclass(frozen=True, slots=True)
class IncompatibleSpec:
    """A stored specification that this version cannot validate."""

    values: dict[str, Any]
    reason: str
    """The validation errors."""

    @property
    def model(self) -> str:
        """The model's name, if there is one."""
        return str(self.values.get("model", "a model that cannot be read"))

    @property
    def target(self) -> str:
        """Placeholder for `PruneSpec.target`."""
        return UNKNOWN_TARGET


def spec_of(values: dict[str, Any]) -> PruneSpec | IncompatibleSpec:
    """The specification of a row, possibly written by an older or newer version."""
    try:
        return PruneSpec.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        said = [f"{'.'.join(map(str, fault['loc'])) or 'spec'}: {fault['msg']}" for fault in faults]
        return IncompatibleSpec(values, "; ".join(said[:MAX_FAULTS]))


def default_name(spec: Any) -> str:
    """What a job is called of which nobody said it: `tiny, ratio 0.5`.

    Args:
        spec: with a `model` and a `target` in words.
    """
    model = str(spec.model).removeprefix("local:").rpartition("/")[2]
    name = f"{model}, {spec.target}"
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as read from the database. Times are aware, in UTC."""

    id: str
    owner: str
    idempotency_key: str | None
    spec: PruneSpec | IncompatibleSpec
    metadata: dict[str, str]
    name: str
    """As given, or by model and target."""
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
    artifacts_bytes: int | None = None
    artifacts_removed_at: datetime | None = None
    """When the files expired, by age or for space; the record stays."""
    engine_kills: list[dict[str, Any]] | None = None
    """`where` the job's engines were killed, and their peak memory in `bytes`."""
    anew_epoch: int = 0
    """The last epoch whose layers are ignored, because of a retry from the beginning."""
    created_at: datetime = field(kw_only=True)
    queued_at: datetime = field(kw_only=True)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime = field(kw_only=True)
    dispatched_at: datetime | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job is finished; a retry may queue it again."""
        return self.status in TERMINAL

    @property
    def seconds(self) -> float | None:
        """Wall time from the claim to the end; None while there is none, or no end."""
        return wall_seconds(self.started_at, self.finished_at)

    @property
    def stages(self) -> dict[str, float] | None:
        """Seconds of each stage, which add up to `seconds`; None unless it succeeded."""
        return whole_stages((self.result or {}).get("stages"), self.seconds)

    @property
    def timed_result(self) -> dict[str, Any] | None:
        """The result, with the job's own times in place of the engine's."""
        if self.result is None or self.seconds is None:
            return self.result
        stages = {} if self.stages is None else {"stages": self.stages}
        return self.result | {"seconds": self.seconds} | stages


@dataclass(frozen=True, slots=True)
class StatusRow:
    """The columns of a job that clients poll."""

    id: str
    status: Status
    stage: str | None
    attempt: int
    layers_done: int
    layers_total: int | None
    error: dict[str, Any] | None

    @property
    def terminal(self) -> bool:
        """Whether the job is finished; a retry may queue it again."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class StaleFiles:
    """A finished job that may have unreferenced files, of epochs 1 to `epoch`, except `kept`."""

    id: str
    epoch: int
    kept: str | None
    """Prefix of the published files."""
    expired: bool
    """Whether its published files have expired."""
    layers_kept: bool = False
    """Whether its finished layers are kept for a retry."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One pruned decoder layer: the fields of `slimgpt.events.LayerFinished`, job and epoch."""

    job_id: str
    point: int
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
    """A page of a list; `next_cursor` is None on the last page."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job and its lease. `epoch` guards every write."""

    job: Job
    epoch: int
    attempt: int
    lease_expires_at: datetime
    began: float = field(default_factory=time.time)
    """Unix time of the claim, by this machine's clock."""

    @property
    def spec(self) -> PruneSpec:
        """The specification; jobs with an incompatible one are never claimed."""
        assert isinstance(self.job.spec, PruneSpec)
        return self.job.spec


@dataclass(frozen=True, slots=True)
class Renewal:
    """A valid lease, and whether cancellation was requested."""

    lease_expires_at: datetime
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Reaped:
    """A job taken from a lost worker, and its new status: queued, failed or cancelled."""

    id: str
    status: Status
    attempt: int
