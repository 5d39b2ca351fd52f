"""Rate limit per API key or address, shared by all processes through Redis.

While Redis does not answer, every process counts its own requests; the log has one entry about it.
"""

from __future__ import annotations

import asyncio
import math
import time
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as Limiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenConnection

from jobs.messages.circuit_breaker import CircuitBreaker, ServerUnavailable
from jobs.messages.progress import CONNECTIONS, LIMIT_SECONDS

WINDOW_SECONDS = 60


class RateStatus(NamedTuple):
    """A client's use of its rate limit."""

    allowed: bool
    most: int
    remaining: int
    seconds: int
    """Until the limit resets; at least 1."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of draft-ietf-httpapi-ratelimit-headers; Retry-After if refused."""
        told = {
            "RateLimit-Policy": f'"requests";q={self.most};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={self.seconds}',
        }
        return told if self.allowed else {**told, "Retry-After": str(self.seconds)}


class RateLimiter:
    """Counts the requests of each client in the last minute. Connects on first use.

    Args:
        redis_url: holds the counts of all processes.
        per_minute: limit of a client.
        guard: the circuit breaker of Redis in this process.
    """

    def __init__(self, redis_url: str, per_minute: int, guard: CircuitBreaker) -> None:
        self._pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS,
            timeout=LIMIT_SECONDS,
            socket_timeout=LIMIT_SECONDS,
            socket_connect_timeout=LIMIT_SECONDS,
            retry=Retry(NoBackoff(), 1, (BrokenConnection,)),  # one that broke is replaced
        )
        self._most = per_minute
        self._item = RateLimitItemPerMinute(per_minute, namespace="requests")
        storage = RedisStorage(
            f"async+{redis_url}",
            implementation="redispy",
            key_prefix="slimgpt:rate",
            connection_pool=self._pool,  # type: ignore[arg-type]  # its hints know no pool
        )
        self._shared = Limiter(storage)
        self._own: Limiter | None = None
        self._guard = guard

    async def count(self, who: str) -> RateStatus:
        """Count a request of this client; the result says whether it is allowed."""
        try:
            with self._guard.asking():
                async with asyncio.timeout(LIMIT_SECONDS):
                    return await self._count(self._shared, who)
        except ServerUnavailable:
            self._own = self._own or Limiter(MemoryStorage())
            return await self._count(self._own, who)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.disconnect()

    async def _count(self, limiter: Limiter, who: str) -> RateStatus:
        allowed = await limiter.hit(self._item, who)
        reset_at, remaining = await limiter.get_window_stats(self._item, who)
        seconds = max(1, math.ceil(reset_at - time.time()))
        return RateStatus(allowed, self._most, int(remaining) if allowed else 0, seconds)


def of_address(peer: str) -> str:
    """The key of a client without an API key; in IPv6 its /64, the network of one customer."""
    try:
        address = ip_address(peer)
    except ValueError:
        return "address unknown"
    if address.version == 6:
        return f"address {ip_network((address, 64), strict=False)}"
    return f"address {address}"
