"""A process that freezes in the middle of a transaction holds nobody else up, nor for long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text, update

from jobs.states import Status
from jobs.store.database import LOCK_SECONDS, make_engine
from jobs.store.store import Store
from jobs.store.tables import JOBS
from slimgpt.spec.prune import PruneSpec
from worker.job.lease import AWAY

SPEC = PruneSpec(model="local:tiny", ratio=0.5)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    """Connections to a migrated PostgreSQL."""
    engine = make_engine(postgres_url)
    yield engine
    engine.dispose()


def test_its_lock_holds_up_its_own_job_alone(postgres: Engine) -> None:
    store = Store(postgres, lease_seconds=0.01)
    frozen, other = (store.create(SPEC) for _ in range(2))
    for job in (frozen, other):
        store.claim(job.id, "worker")
    time.sleep(0.05)
    with postgres.begin() as stands_still:
        stands_still.execute(update(JOBS).where(JOBS.c.id == frozen.id).values(stage="prune"))
        assert [(job.id, job.status) for job in store.reap()] == [(other.id, Status.QUEUED)]
    assert [(job.id, job.status) for job in store.reap()] == [(frozen.id, Status.QUEUED)]


def test_postgresql_ends_its_transaction(postgres: Engine) -> None:
    with postgres.begin() as connection:
        told = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar()
        assert told == f"{LOCK_SECONDS}s"
        connection.execute(text("SET idle_in_transaction_session_timeout = '20ms'"))
    with postgres.connect() as connection:
        connection.execute(text("SELECT 1"))
        time.sleep(0.2)
        with pytest.raises(AWAY):  # and it is tried again, as after an outage
            connection.execute(text("SELECT 1"))
    with postgres.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
