"""`Progress`, `ProgressReader`: a job's progress and event stream in Redis.

A hash holds the latest state, a stream every event; both expire. All of it is a hint that may
vanish at any time: the truth is in `jobs.store.store`. A Redis that is lost, hangs or is slow fails
no job and delays nobody: workers write on a thread of its own (`jobs.messages.redis_thread`), the API
reads on its event loop within half a second, and neither asks again for a while after a failure.
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
from jobs.messages.redis_thread import RedisThread
from jobs.messages.snapshot import Snapshot, advance, fields, of_json
from jobs.states import Status
from slimgpt.events import Event, Result

KEPT_EVENTS = 5_000
KEPT_SECONDS = 7 * 24 * 3600
LIMIT_SECONDS = 0.6
"""For one answer of Redis, whatever it takes: a connection, a name, several commands."""
CONNECTIONS = 8
"""Of a process that reads."""
# A connection that broke is replaced and asked once more; what was silent is not.
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
    """What stands before Redis in a process. One for all who ask it: each request waits once."""
    return CircuitBreaker("Redis", lost, (RedisError, OSError))


class Progress:
    """Writes what is known of running jobs. One writer a job: its worker. No method waits, but for
    `settle`, `request_of` and `forget`, and these a moment.

    Args:
        redis: a client that answers with text (`decode_responses=True`), as `connect` makes.
        guard: stands before Redis in this process.
    """

    def __init__(self, redis: Redis, guard: CircuitBreaker) -> None:
        self.redis = redis
        self._thread = RedisThread(redis, guard)
        self._latest: tuple[str, Snapshot] | None = None
        """Of the job that is worked on, known to the thread of hints alone."""

    @classmethod
    def connect(cls, redis_url: str, guard: CircuitBreaker | None = None) -> Progress:
        """A client that gives up soon; nothing is sent yet."""
        retry = Retry(NoBackoff(), 1, (BrokenConnection,))
        redis = Redis.from_url(redis_url, retry=retry, health_check_interval=30, **OPTIONS)
        return cls(redis, guard or breaker())

    def start(self, job_id: str) -> None:
        """A new attempt begins: forget how far the last one was, keep its events."""

        def forget(redis: Redis) -> None:
            self._latest = job_id, Snapshot()
            redis.delete(_hash(job_id))

        self._thread.tell(forget)

    def record(self, job_id: str, event: Event) -> None:
        """Add an event of the engine."""
        # Of a result's layers those who watch were told one by one, as they came.
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
        """Remember which request posted a job, or had it tried again: this context's."""
        if (name := request_id.current()) is not None:
            key, kept = request_id.key(job_id), request_id.KEPT_SECONDS
            self._thread.tell(lambda redis: redis.set(key, name, ex=kept))

    def request_of(self, job_id: str) -> dict[str, str]:
        """The field of a job's log entries that names its request; none if that is not known."""
        name = self._thread.ask(lambda redis: redis.get(request_id.key(job_id)))
        return request_id.field(name)

    def forget(self, job_id: str) -> None:
        """Remove what is known of a job."""
        keys = _hash(job_id), _stream(job_id), request_id.key(job_id)
        self._thread.tell(lambda redis: redis.delete(*keys))
        self.settle()

    @property
    def away(self) -> bool:
        """Whether Redis did not answer a moment ago."""
        return self._thread.away

    def settle(self) -> None:
        """Wait a moment for what was recorded so far; not while Redis is away."""
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
    """Reads what is known of jobs, on the event loop that it is first used on.

    What Redis does not tell in time is not known: None, or nothing.

    Args:
        redis_url: where workers write it.
        guard: stands before Redis in this process.
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
        """The latest snapshots of those jobs of which one is known."""
        asked = list(job_ids)

        async def texts() -> list[str | None]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in asked:
                    pipe.hget(_hash(job_id), "snapshot")
                return cast("list[str | None]", await pipe.execute())

        found = await self._ask(texts) or []
        known = {job_id: of_json(text) for job_id, text in zip(asked, found, strict=False)}
        return {job_id: snapshot for job_id, snapshot in known.items() if snapshot}

    async def after(
        self, positions: Mapping[str, str], most: int = 500
    ) -> dict[str, list[Entry]] | None:
        """The next events of jobs, without waiting for any.

        Args:
            positions: of each job the id of the event to go on after ("0": from the first).
            most: events of a job.

        Returns:
            Those of the jobs of which there are any; None: Redis does not tell.
        """
        streams = {_stream(job_id): job_id for job_id in positions}
        asked = {stream: positions[job_id] for stream, job_id in streams.items()}

        async def look() -> dict[str, Any]:
            return dict(cast(Any, await self._redis.xread(cast(Any, asked), most)) or [])

        found = await self._ask(look)
        if found is None:
            return None
        return {
            streams[stream]: [Entry(entry_id, values["event"]) for entry_id, values in entries]
            for stream, entries in found.items()
        }

    async def last(self, job_ids: Sequence[str]) -> dict[str, str] | None:
        """The id of the newest event of those jobs that have any; None: Redis does not tell."""

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


def _write(redis: Redis, job_id: str, line: str, snapshot: Snapshot | None) -> None:
    with redis.pipeline(transaction=True) as pipe:
        if snapshot is not None:
            pipe.hset(_hash(job_id), mapping=fields(snapshot))
            pipe.expire(_hash(job_id), KEPT_SECONDS)
        pipe.xadd(_stream(job_id), {"event": line}, maxlen=KEPT_EVENTS, approximate=True)
        pipe.expire(_stream(job_id), KEPT_SECONDS)
        pipe.execute()
