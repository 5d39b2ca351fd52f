"""`Services`: store, queue, progress and artifacts of one application."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from api import probes
from api.http.concurrency_limit import ConcurrencyLimit, within_descriptors
from api.middleware.metrics import HttpMetrics
from api.middleware.rate_limit import RateLimiter
from api.streams.feeds import Feeds
from api.streams.key_revocations import KeyRevocations
from jobs.files.artifacts import Artifacts
from jobs.files.calibration_sets import CalibrationSets
from jobs.files.presigned_links import Links
from jobs.messages.circuit_breaker import CircuitBreaker
from jobs.messages.progress import Progress, ProgressReader, breaker
from jobs.messages.queue import Queue
from jobs.metrics.cached_probe import CachedProbe
from jobs.metrics.exposition import new_registry
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store

ANSWER_SECONDS = 5.0
"""A request whose database query takes longer ends with 503, which frees its thread."""
WITHOUT_REDIS = "progress is not shown, and requests are counted in each process"


@dataclass(frozen=True)
class Services:
    """Connections that live as long as the application. All open lazily."""

    settings: Settings
    engine: Engine
    store: Store
    progress: Progress
    reader: ProgressReader
    feeds: Feeds
    streams: ConcurrencyLimit
    downloads: ConcurrencyLimit
    artifacts: Artifacts
    links: Links | None
    """None: published files pass through this process."""
    calibration_sets: CalibrationSets
    queue: Queue
    keys: Keys | None
    """None: requests need no key."""
    key_revocations: KeyRevocations
    guard: CircuitBreaker
    """Of Redis, shared by all its clients in this process."""
    rate: RateLimiter | None
    """None: requests are not counted."""
    probes: dict[str, CachedProbe[None]]
    metrics: CollectorRegistry
    http: HttpMetrics

    @classmethod
    def connect(cls, settings: Settings) -> Services:
        """The services that the settings name; nothing is contacted yet."""
        url = settings.database_url.get_secret_value()
        engine = make_engine(url, answer_seconds=ANSWER_SECONDS)
        redis_url, guard = settings.redis_url.get_secret_value(), breaker(WITHOUT_REDIS)
        with_keys = settings.auth == "keys"
        keys = Keys(engine, settings.key_pepper.get_secret_value()) if with_keys else None
        store = Store(
            engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
        )
        reader, progress = ProgressReader(redis_url, guard), Progress.connect(redis_url, guard)
        artifacts, metrics = Artifacts(settings.artifacts_url), new_registry()
        return cls(
            settings=settings,
            engine=engine,
            store=store,
            progress=progress,
            reader=reader,
            feeds=Feeds(store, reader),
            **_limits(settings, with_keys=with_keys),
            artifacts=artifacts,
            links=Links.wanted(settings),
            calibration_sets=CalibrationSets(engine),
            queue=Queue(redis_url),
            keys=keys,
            key_revocations=KeyRevocations(keys),
            guard=guard,
            rate=RateLimiter(redis_url, settings.requests_per_minute, guard) if with_keys else None,
            probes=probes.of(engine, progress.redis, artifacts),
            metrics=metrics,
            http=HttpMetrics(metrics),
        )

    async def close(self) -> None:
        """Give the connections back."""
        await self.feeds.close()
        if self.rate is not None:
            await self.rate.close()
        await self.reader.close()
        self.queue.close()
        self.progress.close()
        self.engine.dispose()


def _limits(settings: Settings, *, with_keys: bool) -> dict[str, ConcurrencyLimit]:
    """Limits of event streams and downloads; without keys there are no owners to distinguish."""
    limits = {
        "streams": (settings.max_streams, settings.max_streams_per_owner),
        "downloads": (settings.max_downloads, settings.max_downloads_per_owner),
    }
    return {
        what: ConcurrencyLimit(
            what, within_descriptors(most), per_owner if with_keys else None, f"too-many-{what}"
        )
        for what, (most, per_owner) in limits.items()
    }
