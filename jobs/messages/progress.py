"""`Progress`: a job's progress and event stream in Redis.

A hash holds the latest state, a stream every event; both expire. All of it is a hint that may
vanish at any time: the truth is in `jobs.store.store`, and a lost Redis never fails a job.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from jobs import request_id
from jobs.states import Status
from slimgpt.events import Event, LayerFinished, Planned, Result, StageFinished, StageStarted
from slimgpt.events import Progress as Counted

WEIGHTS = {"resolve": 2, "plan": 1, "prune": 80, "evaluate": 12, "verify": 3, "publish": 2}
"""Percent of a job's time that a stage takes, roughly, in the order of the stages."""
KEPT_EVENTS = 5_000
KEPT_SECONDS = 7 * 24 * 3600
SOCKET_SECONDS = 5.0
PAUSE_SECONDS = 5.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest state of a job's attempt.

    `percent` runs over all stages, 0 to 100; `eta_seconds` is None until a layer is done, and
    never 0; `layer_seconds` is the mean time of a layer, `started_at` the attempt's first event.
    """

    stage: str | None = None
    layers_done: int = 0
    layers_total: int | None = None
    percent: float = 0.0
    eta_seconds: float | None = None
    updated_at: datetime | None = None
    layer_seconds: float | None = None
    layers_timed: int = 0
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the stream: its id (good for `Last-Event-ID`) and its JSON."""

    id: str
    data: str


def advance(before: Snapshot, event: Event) -> Snapshot:
    """The snapshot after an event; percent never falls within an attempt."""
    after = before
    if isinstance(event, StageStarted):
        after = _at(replace(before, stage=event.stage), event.stage, 0.0)
    elif isinstance(event, StageFinished):
        after = _at(before, event.stage, 1.0)
    elif isinstance(event, Planned):
        after = replace(before, layers_total=event.layers)
    elif isinstance(event, Counted):
        after = _at(before, event.stage, event.done / max(event.total, 1))
    elif isinstance(event, LayerFinished):
        after = _with_layer(before, event)
    now = datetime.now(UTC)
    after = replace(after, started_at=before.started_at or now, updated_at=now)
    return replace(after, eta_seconds=_eta(after))


def _at(snapshot: Snapshot, stage: str, share: float) -> Snapshot:
    """Move to a share (0 to 1) of a stage; a stage without weight moves nothing."""
    if stage not in WEIGHTS:
        return snapshot
    names = list(WEIGHTS)
    before = sum(WEIGHTS[name] for name in names[: names.index(stage)])
    percent = before + WEIGHTS[stage] * min(max(share, 0.0), 1.0)
    return replace(snapshot, percent=max(snapshot.percent, round(percent, 2)))


def _with_layer(before: Snapshot, event: LayerFinished) -> Snapshot:
    done = event.done
    moved = _at(before, "prune", done / max(event.layers_total, 1))
    moved = replace(moved, layers_done=done, layers_total=event.layers_total)
    if event.resumed:  # took its time in another attempt
        return moved
    timed = before.layers_timed + 1
    mean = before.layer_seconds or 0.0
    return replace(moved, layers_timed=timed, layer_seconds=mean + (event.seconds - mean) / timed)


def _eta(snapshot: Snapshot) -> float | None:
    """Seconds left, if a percent takes as long as those of the layers, or those so far, took.

    The longer of both: a small model's layers pass in no time, its other stages do not.
    """
    if snapshot.layer_seconds is None or snapshot.layers_total is None:
        return None
    per_percent = snapshot.layer_seconds * snapshot.layers_total / WEIGHTS["prune"]
    if snapshot.started_at is not None and snapshot.updated_at is not None:
        so_far = (snapshot.updated_at - snapshot.started_at).total_seconds()
        per_percent = max(per_percent, so_far / max(snapshot.percent, 1.0))
    # What is done but not told yet takes a moment that nobody knows.
    return round(per_percent * (100.0 - snapshot.percent), 1) or None


class Progress:
    """Writes and reads what is known of running jobs. One writer a job: its worker.

    Args:
        redis: a client that answers with text (`decode_responses=True`), as `connect` makes.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._silent_until = 0.0

    @classmethod
    def connect(cls, redis_url: str) -> Progress:
        """A client that gives up after seconds; nothing is sent yet."""
        redis = Redis.from_url(
            redis_url,
            decode_responses=True,
            protocol=2,
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=30,
        )
        return cls(redis)

    def start(self, job_id: str) -> None:
        """A new attempt begins: forget how far the last one was, keep its events."""
        self._try(lambda: self.redis.delete(_hash(job_id)))

    def record(self, job_id: str, event: Event) -> None:
        """Add an event of the engine. Never fails: without Redis it only logs."""

        def write() -> None:
            snapshot = advance(self._read(job_id) or Snapshot(), event)
            # Of a result's layers those who watch were told one by one, as they came.
            line = event.model_dump_json(exclude={"layers"} if isinstance(event, Result) else None)
            self._write(job_id, line, snapshot)

        self._try(write)

    def record_status(self, job_id: str, status: Status) -> None:
        """Add `{"type": "status", "status": …}` to the stream: the job has changed its state."""
        data = json.dumps({"type": "status", "status": str(status)})
        self._try(lambda: self._write(job_id, data, None))

    def read(self, job_id: str) -> Snapshot | None:
        """The latest snapshot; None if nothing is known, or Redis is away."""
        return cast("Snapshot | None", self._try(lambda: self._read(job_id)))

    def events(self, job_id: str, after_id: str = "0", block_ms: int = 1000) -> Iterator[Entry]:
        """Events after the one with id `after_id` ("0": from the first that is kept).

        Waits up to `block_ms` (at most 4000) for more, and ends when none came in that time:
        call again with the last id.

        Raises:
            redis.exceptions.RedisError: Redis is away, or `after_id` is not an id of a stream.
        """
        block = max(1, min(block_ms, 4000))
        while True:
            answer = cast(Any, self.redis.xread({_stream(job_id): after_id}, 100, block))
            entries = _entries(answer, _stream(job_id))
            if not entries:
                return
            for entry in entries:
                after_id = entry.id
                yield entry

    def after(self, job_id: str, after_id: str = "0", most: int = 500) -> list[Entry]:
        """The next events after the one with id `after_id`, without waiting.

        Empty when there are none, they have expired, or Redis is away.
        """
        found = self._try(lambda: self.redis.xrange(_stream(job_id), f"({after_id}", "+", most))
        pairs = cast("list[tuple[str, dict[str, str]]]", found or [])
        return [Entry(entry_id, fields["event"]) for entry_id, fields in pairs]

    def forget(self, job_id: str) -> None:
        """Remove what is known of a job."""
        self._try(lambda: self.redis.delete(_hash(job_id), _stream(job_id), request_id.key(job_id)))

    def close(self) -> None:
        """Close the connections."""
        self.redis.close()

    def _read(self, job_id: str) -> Snapshot | None:
        raw = cast(dict[str, str], self.redis.hgetall(_hash(job_id)))
        if "snapshot" not in raw:
            return None
        try:
            values = json.loads(raw["snapshot"])
            for name in ("started_at", "updated_at"):
                values[name] = values[name] and datetime.fromisoformat(values[name])
            return Snapshot(**values)
        except (ValueError, TypeError, KeyError):  # of another version, or torn: a hint, no truth
            return None

    def _write(self, job_id: str, data: str, snapshot: Snapshot | None) -> None:
        with self.redis.pipeline(transaction=True) as pipe:
            if snapshot is not None:
                pipe.hset(_hash(job_id), mapping=_fields(snapshot))
                pipe.expire(_hash(job_id), KEPT_SECONDS)
            pipe.xadd(_stream(job_id), {"event": data}, maxlen=KEPT_EVENTS, approximate=True)
            pipe.expire(_stream(job_id), KEPT_SECONDS)
            pipe.execute()

    def _try(self, action: Any) -> Any:
        """Run it, unless Redis was away a moment ago; a job must not wait for hints."""
        if time.monotonic() < self._silent_until:
            return None
        try:
            return action()
        except RedisError as error:
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            log.warning("progress is lost: Redis is away", error=str(error))
            return None


def _hash(job_id: str) -> str:
    return f"slimgpt:job:{job_id}:progress"


def _stream(job_id: str) -> str:
    return f"slimgpt:job:{job_id}:events"


def _fields(snapshot: Snapshot) -> dict[Any, Any]:
    """Fields for people and dashboards, and the whole as JSON for `read`."""
    values = asdict(snapshot)
    for name in ("started_at", "updated_at"):
        values[name] = values[name] and values[name].isoformat()
    plain = {name: "" if value is None else str(value) for name, value in values.items()}
    return plain | {"snapshot": json.dumps(values)}


def _entries(answer: Any, stream: str) -> list[Entry]:
    """XREAD's answer: pairs of a stream and its entries, or nothing."""
    found = dict(answer or []).get(stream, [])
    return [Entry(entry_id, fields["event"]) for entry_id, fields in found]
