"""What a request works with: store, queue, progress and artifacts of one application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from sqlalchemy import Engine

from api.auth import Caller
from api.problems import Problem
from api.rate import RequestRate
from jobs.artifacts import Artifacts
from jobs.database import make_engine
from jobs.job import Job
from jobs.keys import Keys
from jobs.progress import Progress
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.store import Store


@dataclass(frozen=True)
class Services:
    """Connections that live as long as the application. All open lazily."""

    settings: Settings
    engine: Engine
    store: Store
    progress: Progress
    artifacts: Artifacts
    queue: Queue
    keys: Keys | None
    """None: nobody is asked for a key."""
    rate: RequestRate | None
    """None: requests are not counted."""

    @classmethod
    def connect(cls, settings: Settings) -> Services:
        """The services that the settings name; nothing is contacted yet."""
        engine = make_engine(settings.database_url.get_secret_value())
        redis_url = settings.redis_url.get_secret_value()
        asked = settings.auth == "keys"
        return cls(
            settings=settings,
            engine=engine,
            store=Store(
                engine, lease_seconds=settings.lease_seconds, max_attempts=settings.max_attempts
            ),
            progress=Progress.connect(redis_url),
            artifacts=Artifacts(settings.artifacts_url),
            queue=Queue(redis_url),
            keys=Keys(engine, settings.key_pepper.get_secret_value()) if asked else None,
            rate=RequestRate(redis_url, settings.requests_per_minute) if asked else None,
        )

    def close(self) -> None:
        """Give the connections back."""
        if self.rate is not None:
            self.rate.close()
        self.queue.close()
        self.progress.close()
        self.engine.dispose()


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(_services)]


def _job(
    services: Wired, caller: Caller, job_id: Annotated[str, Path(description="The job's id.")]
) -> Job:
    # Another owner's job is not found, like one that never was.
    # An id that no job can have never reaches the database, which might choke on it.
    well_formed = job_id.isascii() and job_id.replace("_", "").isalnum() and len(job_id) <= 40
    job = services.store.get(job_id, caller.scope) if well_formed else None
    if job is None:
        raise Problem("job-not-found", f"there is no job {job_id[:64]!r}")
    return job


FoundJob = Annotated[Job, Depends(_job)]
