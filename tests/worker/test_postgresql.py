"""The supervisor over PostgreSQL, which is restarted in the middle of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.settings import Settings
from jobs.states import Status
from tests.servers import PostgresServer, wait_until
from tests.worker.conftest import Bench
from worker.job.supervisor import Outcome


@pytest.fixture
def bench(
    settings: Settings, postgres_url: str, postgres_server: PostgresServer
) -> Iterator[Bench]:
    changes = {"database_url": SecretStr(postgres_url), "lease_seconds": 20.0}
    made = Bench(settings.model_copy(update=changes))
    yield made
    if postgres_server.process is None:  # a test failed; others need the server
        postgres_server.start()
    made.close()


def test_a_restart_of_the_database_is_survived(
    bench: Bench, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    job, gate, beats = bench.job(), tmp_path / "gate", list[float]()
    supervisor = bench.supervisor("good", gate)
    supervisor.alive = lambda: beats.append(time.monotonic())
    outcomes = bench.beside(supervisor, job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    postgres_server.stop()
    before = len(beats)
    wait_until(lambda: len(beats) > before + 1, "the worker lives, and says so")
    gate.touch()  # the engine goes on while nobody can write what it says
    engine = bench.settings.work_root / job.id / "engine"
    wait_until((engine / "checkpoint" / "report.json").exists, "the engine is done")
    postgres_server.start()
    assert wait_until(lambda: outcomes, "the supervisor ends", 60) == [Outcome.SUCCEEDED]
    done = bench.again(job)
    assert (done.status, done.layers_done, done.attempt) == (Status.SUCCEEDED, 3, 1)


def test_a_database_that_stays_away_costs_the_lease(
    bench: Bench, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    bench.store.lease_seconds = 1.5
    job, gate = bench.job(), tmp_path / "gate"
    outcomes = bench.beside(bench.supervisor("good", gate), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    postgres_server.stop()
    assert wait_until(lambda: outcomes, "the supervisor gives up", 60) == [Outcome.LOST]
    postgres_server.start()
    wait_until(bench.store.reap, "the lease has run out")
    assert bench.again(job).status is Status.QUEUED
    gate.touch()
    bench.store.lease_seconds = 20.0
    assert bench.supervisor("good", gate).run(job.id) is Outcome.SUCCEEDED
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [True, False, False]
