"""The checks of `/readyz`, each on its own thread; a check that hangs is not started again."""

from __future__ import annotations

import os

from redis import Redis
from sqlalchemy import Engine, text

from jobs.files.artifacts import Artifacts
from jobs.metrics.cached_probe import CachedProbe
from jobs.store.database import READ_ONLY


def of(engine: Engine, redis: Redis, artifacts: Artifacts) -> dict[str, CachedProbe[None]]:
    """A probe for each part; it raises the reason if the part cannot be used."""

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
