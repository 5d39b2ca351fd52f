"""Faults of what the service leans on: Redis and messages, the database, disks, object stores."""

from __future__ import annotations

import resource
import signal
import sys
import threading
from contextlib import suppress

import httpx
import psutil

from jobs.states import Status
from tests.faults import engine
from tests.faults.fault import MAY_FAIL, OUTAGE_SECONDS, fault
from tests.faults.stack import Stack
from tests.faults.trial import Trial, family
from tests.servers import wait_until

# Redis and messages


@fault(hurts_hints=True)
def redis_killed(trial: Trial) -> None:
    """`kill -9` of Redis, back with its data."""
    trial.post()
    trial.at_a_moment()
    trial.stack.redis.kill()
    trial.pause(0.0, OUTAGE_SECONDS)
    trial.stack.redis.start()


@fault(hurts_hints=True)
def redis_wiped(trial: Trial) -> None:
    """`kill -9` of Redis, back with nothing."""
    trial.post()
    if trial.random.random() < 0.5:
        trial.at_a_moment()
    trial.stack.redis.kill()
    trial.pause(0.0, OUTAGE_SECONDS)
    trial.stack.redis.wipe()
    trial.stack.redis.start()


@fault(hurts_hints=True)
def broker_down_at_post(trial: Trial) -> None:
    """Redis down when the job is posted."""
    trial.stack.redis.kill()
    trial.post()
    trial.pause(0.0, OUTAGE_SECONDS)
    trial.stack.redis.start()


@fault()
def delivered_twice(trial: Trial) -> None:
    """The message delivered again: at once, while it runs, and after the end."""
    job_id = trial.post()
    for _ in range(trial.random.randint(1, 3)):
        trial.stack.queue.publish(job_id)
    trial.at_a_moment()
    trial.stack.queue.publish(job_id)
    trial.until(lambda job: job.terminal)
    trial.stack.queue.publish(job_id)


@fault(hurts_hints=True)
def api_killed(trial: Trial) -> None:
    """`kill -9` of the API between commit and publish; the client asks again."""
    redis = trial.stack.redis.process
    assert redis is not None
    redis.send_signal(signal.SIGSTOP)  # sending the message hangs

    def post() -> None:
        with suppress(httpx.HTTPError):  # cut off, if the answer was not sent before
            trial.post()

    posting = threading.Thread(target=post)
    posting.start()
    wait_until(lambda: trial.stack.store.list(status=Status.QUEUED).items, "the row is committed")
    trial.stack.kill("api")
    posting.join()
    redis.send_signal(signal.SIGCONT)
    trial.stack.repair()
    first = trial.job_id
    again = trial.post()
    assert first in ("", again), "the same key gave another job"


# The database


@fault(hides_losses=True)
def postgres_restarted(trial: Trial) -> None:
    """PostgreSQL stopped at once ("immediate") and started again."""
    trial.post()
    trial.at_a_moment()
    trial.stack.postgres.shoot()
    trial.pause(0.0, OUTAGE_SECONDS)
    trial.stack.postgres.start()


# Disks


@fault(
    MAY_FAIL, lacks=lambda stack: "" if stack.disk.mounted else "this user may not mount a tmpfs"
)
def disk_full(trial: Trial) -> None:
    """The disk of work and artifacts full, and free again afterwards."""
    trial.post()
    trial.at_a_moment()
    room = trial.random.randrange(engine.LAYERS * engine.LAYER_BYTES)
    with trial.stack.disk.almost_full(room):
        trial.until(lambda job: job.terminal)


@fault(MAY_FAIL, lacks=lambda stack: "" if sys.platform == "linux" else "needs prlimit (Linux)")
def file_too_large(trial: Trial) -> None:
    """Files may not grow any more (RLIMIT_FSIZE): engine and worker."""
    trial.post()
    trial.at_a_moment()
    name, _ = trial.holder()
    hurt = [*family(trial.stack.process(name))]
    for process in hurt:
        _limit(process, trial.random.choice([1 << 10, 1 << 16, engine.LAYER_BYTES // 2]))
    trial.until(lambda job: job.terminal)
    for process in hurt:
        _limit(process, resource.RLIM_INFINITY)


def _limit(process: psutil.Process, size: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


# The object store


def _no_wire(stack: Stack) -> str:
    return "" if stack.wire is not None else "the artifacts are in a folder"


@fault(MAY_FAIL, lacks=_no_wire)
def store_cuts(trial: Trial) -> None:
    """The connection to the object store cut in the middle of an upload."""
    wire = trial.stack.wire
    assert wire is not None
    wire.cut_after(trial.random.randrange(2 * engine.LAYERS * engine.LAYER_BYTES))
    trial.post()
    _store_is_away(trial)


@fault(MAY_FAIL, lacks=_no_wire)
def store_refuses(trial: Trial) -> None:
    """The object store refuses connections for a while."""
    trial.post()
    trial.at_a_moment()
    assert trial.stack.wire is not None
    trial.stack.wire.state = "refuses"
    _store_is_away(trial)


@fault(MAY_FAIL, lacks=_no_wire)
def store_hangs(trial: Trial) -> None:
    """The object store takes connections and says nothing for a while."""
    trial.post()
    trial.at_a_moment()
    assert trial.stack.wire is not None
    trial.stack.wire.state = "hangs"
    _store_is_away(trial)


def _store_is_away(trial: Trial) -> None:
    """Until the job has published for a while, or is over; then mended."""
    trial.until(lambda job: job.terminal or job.stage == "publish")
    trial.pause(0.0, 2 * OUTAGE_SECONDS)
    assert trial.stack.wire is not None
    trial.stack.wire.mend()
