"""A real Celery worker over real servers: delivered, stopped, killed, delivered again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobs.files.artifacts import Artifacts
from jobs.messages.queue import Queue
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.records import Job
from jobs.store.store import Store
from tests.servers import RedisServer, wait_until
from tests.worker.conftest import SPEC, engine_command
from worker.engine import launch
from worker.housekeeping.reaper import Reaper


class Service:
    """A store, a queue, a reaper, and workers as processes of their own."""

    def __init__(self, settings: Settings, folder: Path, redis: RedisServer) -> None:
        self.folder = folder
        self.gates = folder / "gates"
        self.gates.mkdir()
        self.settings = settings
        self.engine = make_engine(settings.database_url.get_secret_value())
        self.store = Store(self.engine, lease_seconds=2.0)
        self.queue = Queue(settings.redis_url.get_secret_value())
        self.reaper = Reaper(self.settings, self.store, self.queue)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.redis = redis

    def environment(self) -> dict[str, str]:
        settings = self.settings
        return os.environ | {
            "SLIMGPT_HOME": str(settings.home),
            "SLIMGPT_DATABASE_URL": settings.database_url.get_secret_value(),
            "SLIMGPT_REDIS_URL": settings.redis_url.get_secret_value(),
            "SLIMGPT_LEASE_SECONDS": str(settings.lease_seconds),
            "SLIMGPT_ENGINE_STOP_SECONDS": str(settings.engine_stop_seconds),
            "SLIMGPT_DEVICE": settings.device,
            "SLIMGPT_ENGINE_COMMAND": json.dumps(engine_command("good", self.gates)),
        }

    def worker(self) -> psutil.Process:
        """The worker that runs, or a new one if none does."""
        alive = [process for process in self.workers if process.poll() is None]
        return psutil.Process(alive[-1].pid) if alive else self.start_worker()

    def start_worker(self) -> psutil.Process:
        """Start `python -m worker`; returns when it takes messages."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                launch.command([sys.executable, "-m", "worker"]),
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(process)

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return " ready." in log.read_text()

        wait_until(ready, "the worker is ready", 60)
        return psutil.Process(process.pid)

    def open_gate(self, job: Job) -> None:
        """Let the job's engine go on after its first layer."""
        (self.gates / job.id).touch()

    def submit(self, *, gate_open: bool = False) -> Job:
        """A job whose message is in the queue."""
        job = self.store.create(SPEC)
        if gate_open:
            self.open_gate(job)
        self.queue.publish(job.id)
        self.store.dispatched(job.id)
        return job

    def now(self, job: Job) -> Job:
        found = self.store.get(job.id)
        assert found is not None
        return found

    def await_layer(self, job: Job, count: int = 1) -> None:
        wait_until(lambda: self.now(job).layers_done == count, f"{count} layers", 60)

    def await_attempt(self, job: Job, number: int) -> None:
        """Wait for it, with a reaper at work."""

        def there() -> bool:
            self.reaper.look()
            return self.now(job).attempt == number

        wait_until(there, f"attempt {number}", 60)

    def await_status(self, job: Job, status: Status) -> Job:
        """Wait, with a reaper at work."""

        def there() -> bool:
            self.reaper.look()
            return self.now(job).status is status

        wait_until(there, f"job {status}", 60)
        return self.now(job)

    def check_published_once(self, job: Job) -> None:
        """The result is whole, is that of the last epoch, and is the only one."""
        done = self.now(job)
        artifacts = Artifacts(self.settings.artifacts_url)
        assert done.artifacts_prefix == f"jobs/{job.id}/{done.lease_epoch}"
        with artifacts.open(done.artifacts_prefix, "model.safetensors") as file:
            assert file.read() == b"012"
        prefixes = sorted(path.name for path in Path(artifacts.root, "jobs", job.id).iterdir())
        assert prefixes == [str(done.lease_epoch)]

    def close(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
            process.wait(30)
        self.queue.close()
        self.engine.dispose()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Service]:
    """One for all tests here: a worker takes seconds to start on a busy machine."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copyfile(migrated_sqlite, folder / "slimgpt.db")
    redis = RedisServer()
    redis.start()
    settings = Settings(
        home=folder,
        redis_url=redis.url,
        device="cpu",
        lease_seconds=2.0,
        redispatch_seconds=2.0,
        engine_stop_seconds=1.0,
    )
    made = Service(settings, folder, redis)
    yield made
    made.close()
    redis.close()


def family(worker: psutil.Process) -> list[psutil.Process]:
    """All that the worker started, engine included."""
    return worker.children(recursive=True)


def engines(worker: psutil.Process) -> list[psutil.Process]:
    return [process for process in family(worker) if "script_engine.py" in str(process.cmdline())]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_a_job_goes_from_message_to_result(service: Service) -> None:
    service.worker()
    jobs = [service.submit(gate_open=True) for _ in range(3)]
    service.queue.publish(jobs[0].id)  # twice does no harm
    for job in jobs:
        done = service.await_status(job, Status.SUCCEEDED)
        assert (done.attempt, done.lease_epoch) == (1, 1)
        service.check_published_once(job)


def test_a_cancelled_job_frees_the_worker(service: Service) -> None:
    worker = service.worker()
    job = service.submit()
    service.await_layer(job)
    (engine,) = wait_until(lambda: engines(worker), "the engine is seen")
    service.store.request_cancel(job.id)
    service.await_status(job, Status.CANCELLED)
    assert all_gone([engine])
    service.await_status(service.submit(gate_open=True), Status.SUCCEEDED)


def test_a_job_whose_engine_is_killed_goes_on_and_fails_at_the_second_time(
    service: Service,
) -> None:
    worker = service.worker()
    once, twice = service.submit(), service.submit()
    service.await_layer(once)
    engines(worker)[0].kill()
    service.await_attempt(once, 2)
    service.open_gate(once)
    service.await_status(once, Status.SUCCEEDED)
    assert service.store.layers(once.id)[0].resumed
    for attempt in (1, 2):
        service.await_attempt(twice, attempt)
        service.await_layer(twice)
        engines(worker)[0].kill()
    failed = service.await_status(twice, Status.FAILED)
    assert failed.error is not None
    assert failed.error["code"] == "engine-killed"
    assert "for the second time" in failed.error["message"]


def test_the_broker_may_forget_everything(service: Service) -> None:
    worker = service.worker()
    worker.suspend()
    job = service.submit(gate_open=True)
    service.redis.flush()
    worker.resume()
    service.await_status(job, Status.SUCCEEDED)
    service.check_published_once(job)


def test_the_broker_may_be_killed_under_a_running_job(service: Service) -> None:
    service.worker()
    job = service.submit()
    service.await_layer(job)
    service.redis.kill()
    service.open_gate(job)
    wait_until(lambda: service.now(job).status is Status.SUCCEEDED, "the job succeeds")
    service.redis.start()
    service.check_published_once(job)
    after = service.submit(gate_open=True)
    service.await_status(after, Status.SUCCEEDED)


@pytest.mark.parametrize("victim", ["child", "parent"])
def test_kill_9_leaves_nothing_behind(service: Service, victim: str) -> None:
    worker = service.worker()
    job = service.submit()
    service.await_layer(job)
    started = family(worker)
    (engine,) = wait_until(lambda: engines(worker), "the engine is seen")
    target = worker if victim == "parent" else engine.parent()
    assert target is not None
    target.kill()
    wait_until(lambda: all_gone([engine]), "the engine is gone")
    service.open_gate(job)
    if victim == "parent":
        wait_until(lambda: all_gone(started), "all that the worker started is gone")
        service.workers[-1].wait(30)
        service.worker()
    service.await_status(job, Status.SUCCEEDED)
    service.check_published_once(job)


def test_a_worker_asked_to_stop_gives_its_job_back(service: Service) -> None:
    worker = service.worker()
    job = service.submit()
    service.await_layer(job)
    started = family(worker)
    worker.send_signal(signal.SIGTERM)
    assert service.workers[-1].wait(30) == 0
    assert all_gone(started)
    back = service.now(job)
    assert (back.status, back.attempt) == (Status.QUEUED, 0)

    service.open_gate(job)
    service.worker()
    done = service.await_status(job, Status.SUCCEEDED)
    assert (done.attempt, done.lease_epoch) == (1, 2)
    assert [layer.resumed for layer in service.store.layers(job.id)] == [True, False, False]
    service.check_published_once(job)


def test_a_stalled_worker_loses_its_job_and_does_no_harm(service: Service) -> None:
    first = service.worker()
    job = service.submit()
    service.await_layer(job)
    stalled = [first, *[process for process in family(first) if process not in engines(first)]]
    for process in stalled:
        process.suspend()
    service.open_gate(job)
    second = service.start_worker()
    done = service.await_status(job, Status.SUCCEEDED)
    assert (done.lease_epoch, done.attempt) == (2, 2)
    second.suspend()
    for process in reversed(stalled):
        process.resume()
    another = service.submit(gate_open=True)  # the first worker is of use again
    service.await_status(another, Status.SUCCEEDED)
    service.check_published_once(another)
    assert service.now(job) == done
    service.check_published_once(job)
    second.resume()
