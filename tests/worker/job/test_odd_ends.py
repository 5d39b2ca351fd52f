"""Ends that come from elsewhere than the engine's work, and what a worker has left after all."""

from __future__ import annotations

import os
import threading

import pytest
from sqlalchemy.exc import OperationalError

from jobs.states import Status
from tests.servers import wait_until
from tests.worker.conftest import Bench
from worker.job.supervisor import Outcome


def test_an_engine_that_closed_its_output_is_cancelled_like_any_other(bench: Bench) -> None:
    job = bench.job()
    answers = bench.beside(bench.supervisor("closed"), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    bench.store.request_cancel(job.id)
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.CANCELLED]


@pytest.mark.parametrize("shutdown", [True, False])
def test_a_signal_to_all_processes_of_the_machine_costs_no_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, shutdown: bool
) -> None:
    """The engine dies of it before its worker has heard of the shutdown."""
    monkeypatch.setattr("worker.job.attempt.TOLD_SECONDS", 60.0 if shutdown else 0.5)
    job = bench.job()
    answers = bench.beside(bench.supervisor("told"), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    bench.shutting_down = shutdown
    ended = wait_until(lambda: answers, "the supervisor ends")
    assert ended == [Outcome.RELEASED if shutdown else Outcome.KILLED]
    assert bench.again(job).attempt == (0 if shutdown else 1)


def test_a_lease_that_is_lost_while_a_failure_is_written_down_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, supervisor = bench.job(), bench.supervisor("good")

    def away(*_: object) -> bool:
        raise OperationalError("UPDATE", {}, OSError("the server closed the connection"))

    monkeypatch.setattr(bench.store, "fail", away)
    monkeypatch.setattr(bench.store, "renew", away)
    monkeypatch.setattr("worker.job.supervisor.open_folder", lambda *_: 1 / 0)
    assert supervisor.run(job.id) is Outcome.LOST
    assert bench.again(job).status is Status.RUNNING  # the reaper's to decide


def test_a_folder_is_removed_by_who_held_it_when_another_ended_its_job(bench: Bench) -> None:
    """The other's sweep passes by a folder that is in use; no message may come for hours."""
    job = bench.job()
    answers = bench.beside(bench.supervisor("family"), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer")
    bench.store.reap(bench.again(job).updated_at.replace(year=2100))
    second = bench.store.claim(job.id, "another")
    assert second is not None
    bench.store.request_cancel(job.id)
    assert bench.store.cancelled(job.id, second.epoch)
    assert wait_until(lambda: answers, "the supervisor ends") == [Outcome.LOST]
    assert bench.work_folders() == []


def test_jobs_leave_no_descriptors_and_no_threads(bench: Bench) -> None:
    """A worker lives for months; ends of every kind, and what they took is given back."""

    def held() -> tuple[int, int]:
        bench.engine.dispose()  # a pool keeps as many as were ever in use at the same moment
        bench.progress.redis.connection_pool.disconnect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    behaviours = ("good", "crash", "silent-exit")
    bench.supervisor("good").run(bench.job().id)
    before = held()
    for behaviour in behaviours * 2:
        bench.supervisor(behaviour).run(bench.job().id)
    assert held() == before
