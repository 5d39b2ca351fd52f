"""Rate limit per API key or address, shared by all processes through Redis.

While Redis is down every process counts for itself, so that a limit holds and nobody is locked
out; the log says so once.
"""

from __future__ import annotations

import math
import threading
import time
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import redis
import structlog
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter as Limiter
from redis.backoff import NoBackoff
from redis.retry import Retry

WINDOW_SECONDS = 60
TIMEOUT_SECONDS = 0.5
LEFT_ALONE_SECONDS = 5.0
log = structlog.get_logger(__name__)


class RateStatus(NamedTuple):
    """How a client stands with its limit."""

    allowed: bool
    most: int
    remaining: int
    seconds: int
    """Until more requests are allowed than now; at least 1."""

    @property
    def headers(self) -> dict[str, str]:
        """The fields of draft-ietf-httpapi-ratelimit-headers, and Retry-After after a refusal."""
        told = {
            "RateLimit-Policy": f'"requests";q={self.most};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={self.remaining};t={self.seconds}',
        }
        return told if self.allowed else {**told, "Retry-After": str(self.seconds)}


class RequestRate:
    """The requests of each client in the last minute. Nothing is contacted until one comes.

    Args:
        redis_url: where they are counted, for all processes that name it.
        per_minute: how many a client may make.
    """

    def __init__(self, redis_url: str, per_minute: int) -> None:
        pool = redis.ConnectionPool.from_url(
            redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._pool = pool
        self._most = per_minute
        self._item = RateLimitItemPerMinute(per_minute, namespace="requests")
        self._shared = Limiter(
            RedisStorage(redis_url, pool, key_prefix="slimgpt:rate", wrap_exceptions=True)
        )
        self._own: Limiter | None = None
        self._own_until = 0.0
        self._lock = threading.Lock()

    def count(self, who: str) -> RateStatus:
        """Count a request of this client, and say whether it is one too many."""
        if time.monotonic() >= self._own_until:
            try:
                rate_status = self._count(self._shared, who)
            except StorageError as error:
                self._fall_back(error)
            else:
                self._own_until = 0.0
                return rate_status
        with self._lock:
            self._own = self._own or Limiter(MemoryStorage())
        return self._count(self._own, who)

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def _count(self, limiter: Limiter, who: str) -> RateStatus:
        allowed = limiter.hit(self._item, who)
        reset_at, remaining = limiter.get_window_stats(self._item, who)
        seconds = max(1, math.ceil(reset_at - time.time()))
        return RateStatus(allowed, self._most, int(remaining) if allowed else 0, seconds)

    def _fall_back(self, error: StorageError) -> None:
        """Count here for some seconds, before Redis is asked again."""
        if not self._own_until:
            reason = str(error.storage_error)
            log.warning("requests are counted in each process: Redis is down", reason=reason)
        self._own_until = time.monotonic() + LEFT_ALONE_SECONDS


def of_address(peer: str) -> str:
    """The client at an address: in IPv6 a whole /64, which is one customer's."""
    try:
        address = ip_address(peer)
    except ValueError:
        return "address unknown"
    if address.version == 6:
        return f"address {ip_network((address, 64), strict=False)}"
    return f"address {address}"
