"""The reaper against a real broker: what was lost is sent again, and only that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jobs.messages.queue import QUEUE, Queue, QueueUnavailable
from jobs.states import Status
from jobs.store.tables import JOBS
from tests.jobs.messages.test_queue import messages
from tests.servers import RedisServer, free_port, wait_until
from tests.worker.conftest import Bench
from worker.housekeeping.reaper import Reaper


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    made = Queue(redis_url)
    yield made
    made.close()


@pytest.fixture
def reaper(bench: Bench, queue: Queue) -> Reaper:
    return Reaper(bench.settings, bench.store, queue)


def age(bench: Bench, seconds: float) -> None:
    """Let all jobs be so much older."""
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    with bench.engine.begin() as connection:
        connection.execute(update(JOBS).values(queued_at=then))
        connection.execute(
            update(JOBS).where(JOBS.c.dispatched_at.is_not(None)).values(dispatched_at=then)
        )
        connection.execute(
            update(JOBS).where(JOBS.c.lease_expires_at.is_not(None)).values(lease_expires_at=then)
        )


def age_queue(bench: Bench, seconds: float) -> None:
    """Let all messages be so much older, and no lease."""
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    with bench.engine.begin() as connection:
        connection.execute(
            update(JOBS).where(JOBS.c.dispatched_at.is_not(None)).values(dispatched_at=then)
        )


def take(server: RedisServer, messages: int) -> None:
    """Take messages as a worker does, oldest first."""
    with server.client() as client:
        client.rpop(QUEUE, messages)


def test_a_job_that_was_never_sent_is_sent_once(
    bench: Bench, reaper: Reaper, redis_server: RedisServer
) -> None:
    job = bench.job()
    reaper.look()
    assert messages(redis_server) == []  # whoever created it may be about to
    age(bench, 10)
    reaper.look()
    reaper.look()
    assert [arguments for _, arguments in messages(redis_server)] == [[job.id]]


def test_a_message_that_was_lost_is_sent_again(
    bench: Bench, reaper: Reaper, redis_server: RedisServer
) -> None:
    job = bench.job()
    bench.store.dispatched(job.id)
    age(bench, 10)
    reaper.look()
    assert messages(redis_server) == []  # it may only be waiting for a free worker
    age(bench, bench.settings.redispatch_seconds + 1)
    reaper.look()
    assert [arguments for _, arguments in messages(redis_server)] == [[job.id]]


def test_a_job_whose_message_was_used_by_one_without_is_sent_again(
    bench: Bench, reaper: Reaper, queue: Queue, redis_server: RedisServer
) -> None:
    """The older was given back, and claimed before its own message was sent."""
    older, newer = bench.job(), bench.job()
    queue.publish(newer.id)
    bench.store.dispatched(newer.id)
    take(redis_server, 1)
    claim = bench.store.claim_next("w")
    assert claim is not None
    assert claim.job.id == older.id
    assert bench.store.fail(older.id, claim.epoch, {"code": "c", "message": "m"})
    reaper.look()
    assert messages(redis_server) == []
    age(bench, bench.settings.redispatch_seconds + 1)
    reaper.look()
    assert [arguments for _, arguments in messages(redis_server)] == [[newer.id]]


def test_a_long_queue_is_not_sent_again_but_what_was_lost_is(
    bench: Bench, queue: Queue, redis_server: RedisServer
) -> None:
    """500 jobs wait longer than a message may be silent, through many looks; then Redis is lost."""
    reaper = Reaper(bench.settings.model_copy(update={"redispatch_seconds": 1}), bench.store, queue)
    jobs = [bench.job().id for _ in range(500)]
    age(bench, 10)
    reaper.look()
    for _ in range(3):
        age(bench, 10)
        reaper.look()
        assert queue.waiting() == 500
    for taken in range(5):  # workers are at it
        take(redis_server, 1)
        claim = bench.store.claim_next("w")
        assert claim is not None
        assert claim.job.id == jobs[taken]
        assert bench.store.fail(claim.job.id, claim.epoch, {"code": "c", "message": "m"})
        age_queue(bench, 10)
        reaper.look()
        assert queue.waiting() == 499 - taken
    redis_server.flush()
    assert queue.waiting() == 0
    reaper.look()
    age_queue(bench, 10)
    reaper.look()
    assert queue.waiting() == 495
    sent = [arguments[0] for _, arguments in messages(redis_server)]
    assert sorted(sent) == sorted(jobs[5:])


def test_as_many_are_sent_as_are_missing(
    bench: Bench, queue: Queue, redis_server: RedisServer
) -> None:
    reaper = Reaper(bench.settings.model_copy(update={"redispatch_seconds": 1}), bench.store, queue)
    for _ in range(10):
        bench.job()
    age(bench, 10)
    reaper.look()
    take(redis_server, 3)  # by workers that died before they came to claim
    age(bench, 10)
    reaper.look()
    assert queue.waiting() == 10


def test_the_job_of_a_silent_worker_is_queued_and_sent(
    bench: Bench, reaper: Reaper, redis_server: RedisServer
) -> None:
    job = bench.job()
    bench.store.claim(job.id, "silent")
    age(bench, 10)
    (reaped,) = reaper.look()
    assert (reaped.id, reaped.status) == (job.id, Status.QUEUED)
    assert [arguments for _, arguments in messages(redis_server)] == [[job.id]]
    assert bench.again(job).dispatched_at is not None


def test_without_a_broker_leases_are_seen_to_all_the_same(bench: Bench) -> None:
    queue = Queue(f"redis://127.0.0.1:{free_port()}/0")
    job = bench.job()
    bench.store.claim(job.id, "silent")
    age(bench, 10)
    with pytest.raises(QueueUnavailable):
        Reaper(bench.settings, bench.store, queue).look()
    back = bench.again(job)
    assert (back.status, back.dispatched_at) == (Status.QUEUED, None)
    queue.close()


def test_the_thread_looks_until_it_is_stopped(bench: Bench, queue: Queue) -> None:
    settings = bench.settings.model_copy(update={"reap_seconds": 0.05})
    reaper = Reaper(settings, bench.store, queue)
    reaper.start()
    job = bench.job()
    bench.store.claim(job.id, "silent")
    age(bench, 10)
    wait_until(lambda: bench.again(job).status is Status.QUEUED, "the job is queued")
    reaper.stop()


def test_the_thread_outlives_what_nobody_expected(bench: Bench, redis_url: str) -> None:
    """A message that can't be encoded is no outage of anything, and no reason to stop repairing."""

    class Odd(Queue):
        def publish(self, job_id: str) -> None:
            if self.odd:
                self.odd = False
                raise LookupError("no such serializer")
            super().publish(job_id)

        odd = True

    queue = Odd(redis_url)
    job = bench.job()
    age(bench, 10)
    reaper = Reaper(bench.settings.model_copy(update={"reap_seconds": 0.05}), bench.store, queue)
    reaper.start()
    wait_until(lambda: bench.again(job).dispatched_at, "the job is sent all the same")
    reaper.stop()
    queue.close()


def test_the_program_works_and_ends_when_asked(bench: Bench, redis_url: str) -> None:
    job = bench.job()
    bench.store.claim(job.id, "silent")
    age(bench, 10)
    environment = os.environ | {
        "SLIMGPT_DATABASE_URL": bench.settings.database_url.get_secret_value(),
        "SLIMGPT_REDIS_URL": redis_url,
        "SLIMGPT_REAP_SECONDS": "0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.housekeeping.reaper"],
        env=environment,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: bench.again(job).status is Status.QUEUED, "the job is queued", 60)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f'"job": "{job.id}"'.encode() in said
