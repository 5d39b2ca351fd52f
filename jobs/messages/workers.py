"""The registry of workers in Redis: each announces itself every few seconds.

It is for people to look at. No decision rests on it: who holds a job stands in the job's row. All
times are Redis's own, so that clocks of machines need not agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from redis import Redis

KEY = "slimgpt:workers"
ALIVE_SECONDS = 60.0
"""A worker that was not heard for longer counts as silent; longer than a reconnection takes."""
FORGOTTEN_SECONDS = 24 * 3600.0
MOST = 1000


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker says of itself.

    Attributes:
        id: of this start of the worker.
        host, pid: its machine, and its parent process there.
        device: what its engine runs on, for people.
        version: of the service.
        started_at: Unix time, by its own clock.
        job: the job that it holds.
    """

    id: str
    host: str
    pid: int
    device: str
    version: str
    started_at: float
    job: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """A worker, and how many seconds ago it was heard."""

    facts: WorkerFacts
    silent_seconds: float

    @property
    def alive(self) -> bool:
        """Whether it was heard lately."""
        return self.silent_seconds <= ALIVE_SECONDS


def announce(redis: Redis, facts: WorkerFacts, silent_seconds: float) -> None:
    """Write a worker's facts, and remove workers that are long gone.

    Args:
        silent_seconds: since the worker polled the broker or renewed a lease.
    """
    now = _now(redis)
    redis.hset(KEY, facts.id, json.dumps(asdict(facts) | {"heard_at": now - silent_seconds}))
    found = _entries(redis, now)
    old = [one for one in found if one.silent_seconds > FORGOTTEN_SECONDS]
    old += found[MOST:]
    if old:
        redis.hdel(KEY, *(one.facts.id for one in old))


def leave(redis: Redis, worker_id: str) -> None:
    """Remove a worker that ends as planned."""
    redis.hdel(KEY, worker_id)


def known_workers(redis: Redis) -> list[WorkerEntry]:
    """The workers of the last day, those heard last first."""
    return _entries(redis, _now(redis))


def _entries(redis: Redis, now: float) -> list[WorkerEntry]:
    stored = cast("dict[str, str]", redis.hgetall(KEY))
    found = [entry for text in stored.values() if (entry := _entry(text, now)) is not None]
    return sorted(found, key=lambda entry: (round(entry.silent_seconds), entry.facts.id))


def _entry(text: str, now: float) -> WorkerEntry | None:
    """One worker; None: of another version, or torn."""
    try:
        values: Mapping[str, Any] = json.loads(text)
        facts = WorkerFacts(**{field.name: values[field.name] for field in fields(WorkerFacts)})
        return WorkerEntry(facts, max(0.0, now - float(values["heard_at"])))
    except (ValueError, TypeError, KeyError):
        return None


def _now(redis: Redis) -> float:
    seconds, microseconds = redis.time()
    return seconds + microseconds / 1e6
