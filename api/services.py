"""`Services`: store, queue, progress and artifacts of one application."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from api.middleware.metrics import HttpMetrics
from api.middleware.rate_limit import RequestRate
from jobs.files.artifacts import Artifacts
from jobs.files.calibration_sets import CalibrationSets
from jobs.files.presigned_links import Links
from jobs.messages.progress import Progress
from jobs.messages.queue import Queue
from jobs.metrics.exposition import new_registry
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from jobs.store.store import Store

ANSWER_SECONDS = 10.0
"""A request whose database takes longer ends with 503: its thread is wanted by others."""


@dataclass(frozen=True)
class Services:
    """Connections that live as long as the application. All open lazily."""

    settings: Settings
    engine: Engine
    store: Store
    progress: Progress
    artifacts: Artifacts
    links: Links | None
    """None: published files pass through this process."""
    calibration_sets: CalibrationSets
    queue: Queue
    keys: Keys | None
    """None: nobody is asked for a key."""
    rate: RequestRate | None
    """None: requests are not counted."""
    metrics: CollectorRegistry
    http: HttpMetrics

    @classmethod
    def connect(cls, settings: Settings) -> Services:
        """The services that the settings name; nothing is contacted yet."""
        url = settings.database_url.get_secret_value()
        engine = make_engine(url, answer_seconds=ANSWER_SECONDS)
        redis_url = settings.redis_url.get_secret_value()
        asked = settings.auth == "keys"
        metrics = new_registry()
        return cls(
            settings=settings,
            engine=engine,
            store=Store(
                engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
            ),
            progress=Progress.connect(redis_url),
            artifacts=Artifacts(settings.artifacts_url),
            links=Links.wanted(settings),
            calibration_sets=CalibrationSets(engine),
            queue=Queue(redis_url),
            keys=Keys(engine, settings.key_pepper.get_secret_value()) if asked else None,
            rate=RequestRate(redis_url, settings.requests_per_minute) if asked else None,
            metrics=metrics,
            http=HttpMetrics(metrics),
        )

    def close(self) -> None:
        """Give the connections back."""
        if self.rate is not None:
            self.rate.close()
        self.queue.close()
        self.progress.close()
        self.engine.dispose()
