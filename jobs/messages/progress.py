"""`Progress`, `ProgressReader`: a job's progress and event stream in Redis.

A hash holds the latest state, a stream every event; both expire and may be lost at any time.
`jobs.store.store` is authoritative. A Redis that is lost, hangs or is slow fails no job and delays
nothing: workers write on a separate thread (`jobs.messages.redis_thread`), the API reads on its
event loop with a short timeout, and both use a circuit breaker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import redis.asyncio
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from jobs import request_id
from jobs.messages.circuit_breaker import CircuitBreaker, ServerUnavailable
from jobs.messages.expectation import Expectation
from jobs.messages.redis_thread import RedisThread
from jobs.messages.snapshot import Snapshot, advance, aged, begun, fields, of_json
from jobs.states import Status
from slimgpt.events import Event, Result

KEPT_EVENTS = 5_000
KEPT_SECONDS = 7 * 24 * 3600
MAX_READ = 500  # events of a job, in one call
LIMIT_SECONDS = 0.6
"""Timeout of one call to Redis, including connection, name resolution and pipelines."""
CONNECTIONS = 8
"""Connections of a process that reads."""
# A broken connection is replaced and the command repeated once; a timeout is not repeated.
OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "protocol": 2,
    "socket_timeout": LIMIT_SECONDS,
    "socket_connect_timeout": LIMIT_SECONDS,
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the stream: its id (good for `Last-Event-ID`) and its JSON."""

    id: str
    data: str


def breaker(lost: str = "progress is lost") -> CircuitBreaker:
    """The circuit breaker of Redis, shared by all clients in a process."""
    return CircuitBreaker("Redis", lost, (RedisError, OSError))


class Progress:
    """Writes the progress of running jobs; each job has one writer, its worker. Only `settle`,
    `request_of` and `forget` wait, for a short time.

    Args:
        redis: a client with `decode_responses=True`, as `connect` creates.
        guard: the circuit breaker of Redis in this process.
    """

    def __init__(self, redis: Redis, guard: CircuitBreaker) -> None:
        self.redis = redis
        self._thread = RedisThread(redis, guard)
        self._latest: tuple[str, Snapshot] | None = None
        """Of the running job; used on the Redis thread only."""

    @classmethod
    def connect(cls, redis_url: str, guard: CircuitBreaker | None = None) -> Progress:
        """With a client that has short timeouts; connects on first use."""
        retry = Retry(NoBackoff(), 1, (BrokenConnection,))
        redis = Redis.from_url(redis_url, retry=retry, health_check_interval=30, **OPTIONS)
        return cls(redis, guard or breaker())

    def start(self, job_id: str, expected: Mapping[str, Expectation] | None = None) -> None:
        """Reset the progress for a new attempt, which begins now; events are kept.

        Args:
            expected: the stages of the job, and how long they are expected to take.
        """
        first = Snapshot() if expected is None else begun(expected)

        def forget(redis: Redis) -> None:
            self._latest = job_id, first
            redis.delete(_hash(job_id))
            if expected is not None:
                _write(redis, job_id, None, first)

        self._thread.tell(forget)

    def tick(self, job_id: str) -> None:
        """Let percent and time left go on while the engine is silent."""
        if self.away:  # it would displace events that wait for Redis
            return

        def write(redis: Redis) -> None:
            after = aged(self._before(redis, job_id))
            self._latest = job_id, after
            _write(redis, job_id, None, after)

        self._thread.tell(write)

    def record(self, job_id: str, event: Event) -> None:
        """Add an event of the engine."""
        # The layers of a result have been sent one by one.
        line = event.model_dump_json(exclude={"layers"} if isinstance(event, Result) else None)
        now = datetime.now(UTC)

        def write(redis: Redis) -> None:
            after = advance(self._before(redis, job_id), event, now)
            self._latest = job_id, after
            _write(redis, job_id, line, after)

        self._thread.tell(write)

    def record_status(self, job_id: str, status: Status) -> None:
        """Add `{"type": "status", "status": …}` to the stream: the job has changed its state."""
        line = json.dumps({"type": "status", "status": str(status)})
        self._thread.tell(lambda redis: _write(redis, job_id, line, None))

    def keep_request(self, job_id: str) -> None:
        """Store the id of the current request, which posted or retried the job."""
        if (name := request_id.current()) is not None:
            key, kept = request_id.key(job_id), request_id.KEPT_SECONDS
            self._thread.tell(lambda redis: redis.set(key, name, ex=kept))

    def request_of(self, job_id: str) -> dict[str, str]:
        """The log field with the id of the request that posted the job; empty if unknown."""
        name = self._thread.ask(lambda redis: redis.get(request_id.key(job_id)))
        return request_id.field(name)

    def forget(self, job_id: str) -> None:
        """Remove a job's progress and events."""
        keys = _hash(job_id), _stream(job_id), request_id.key(job_id)
        self._thread.tell(lambda redis: redis.delete(*keys))
        self.settle()

    @property
    def away(self) -> bool:
        """Whether Redis is unavailable."""
        return self._thread.away

    def settle(self) -> None:
        """Wait shortly for what was recorded so far; not while Redis is unavailable."""
        self._thread.settle()

    def close(self) -> None:
        """Settle, and close the connections."""
        self._thread.close()

    def _before(self, redis: Redis, job_id: str) -> Snapshot:
        if self._latest is not None and self._latest[0] == job_id:
            return self._latest[1]
        text = cast("str | None", redis.hget(_hash(job_id), "snapshot"))
        return of_json(text) or Snapshot()


class ProgressReader:
    """Reads the progress of jobs on an event loop. Results are empty if Redis does not answer.

    Args:
        redis_url: the Redis that workers write to.
        guard: the circuit breaker of Redis in this process.
    """

    def __init__(self, redis_url: str, guard: CircuitBreaker) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS,
            timeout=LIMIT_SECONDS,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1, (BrokenConnection,)),
            **OPTIONS,
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._breaker = guard

    async def read(self, job_id: str) -> Snapshot | None:
        """The latest snapshot."""
        return (await self.read_all([job_id])).get(job_id)

    async def read_all(self, job_ids: Iterable[str]) -> dict[str, Snapshot]:
        """The latest snapshots of the jobs that have one."""
        asked = list(job_ids)

        async def texts() -> list[str | None]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in asked:
                    pipe.hget(_hash(job_id), "snapshot")
                return cast("list[str | None]", await pipe.execute())

        found = await self._ask(texts) or []
        known = {job_id: of_json(text) for job_id, text in zip(asked, found, strict=False)}
        return {job_id: snapshot for job_id, snapshot in known.items() if snapshot}

    async def after(self, positions: Mapping[str, str]) -> dict[str, list[Entry]] | None:
        """The next events of jobs, at most `MAX_READ` of each, without waiting for new ones.

        Args:
            positions: by job, the id of the event to continue after ("0": from the first).

        Returns:
            The events of jobs that have any; None if Redis does not answer.
        """
        streams = {_stream(job_id): job_id for job_id in positions}
        asked = {stream: positions[job_id] for stream, job_id in streams.items()}

        async def look() -> dict[str, Any]:
            return dict(cast(Any, await self._redis.xread(cast(Any, asked), MAX_READ)) or [])

        found = await self._ask(look)
        if found is None:
            return None
        return {
            streams[stream]: [Entry(entry_id, values["event"]) for entry_id, values in entries]
            for stream, entries in found.items()
        }

    async def last(self, job_ids: Sequence[str]) -> dict[str, str] | None:
        """The id of the newest event of each job that has one; None if Redis does not answer."""

        async def look() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.xrevrange(_stream(job_id), count=1)
                return await pipe.execute()

        found = await self._ask(look)
        if found is None:
            return None
        return {
            job_id: entries[0][0] for job_id, entries in zip(job_ids, found, strict=True) if entries
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        try:
            with self._breaker.asking():
                async with asyncio.timeout(LIMIT_SECONDS):
                    return await question()
        except ServerUnavailable:
            return None


def _hash(job_id: str) -> str:
    return f"slimgpt:job:{job_id}:progress"


def _stream(job_id: str) -> str:
    return f"slimgpt:job:{job_id}:events"


def _write(redis: Redis, job_id: str, line: str | None, snapshot: Snapshot | None) -> None:
    with redis.pipeline(transaction=True) as pipe:
        if snapshot is not None:
            pipe.hset(_hash(job_id), mapping=fields(snapshot))
            pipe.expire(_hash(job_id), KEPT_SECONDS)
        if line is not None:
            pipe.xadd(_stream(job_id), {"event": line}, maxlen=KEPT_EVENTS, approximate=True)
            pipe.expire(_stream(job_id), KEPT_SECONDS)
        pipe.execute()
