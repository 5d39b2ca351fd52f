"""What `/readyz` asks of each part, on a thread of its own: one that hangs is asked once."""

from __future__ import annotations

import os

from redis import Redis
from sqlalchemy import Engine, text

from jobs.files.artifacts import Artifacts
from jobs.metrics.cached_probe import CachedProbe
from jobs.store.database import READ_ONLY


def of(engine: Engine, redis: Redis, artifacts: Artifacts) -> dict[str, CachedProbe[None]]:
    """A question to each part; what it raises is why the part cannot be used."""

    def database() -> None:
        with engine.execution_options(**READ_ONLY).connect() as connection:
            connection.execute(text("SELECT count(*) FROM jobs WHERE id = ''"))

    def broker() -> None:
        redis.ping()

    def files() -> None:
        artifacts.probe()
        if artifacts.local and not os.access(artifacts.root, os.W_OK):
            raise PermissionError("the folder of artifacts cannot be written")

    asked = {"database": database, "redis": broker, "artifacts": files}
    return {part: CachedProbe(part, ask, keep=0) for part, ask in asked.items()}
