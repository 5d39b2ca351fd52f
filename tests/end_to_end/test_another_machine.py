"""A machine is lost in the middle of a job, disk and all; another goes on from its last layer.

Real workers, the real engine, an object store; the machines share nothing but the service.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jobs.files.artifacts import Artifacts
from jobs.messages.queue import Queue
from jobs.settings import Settings
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.records import Job
from jobs.store.store import Store
from slimgpt.planning import damage
from slimgpt.spec.prune import PruneSpec
from tests.servers import wait_until
from worker.engine import launch
from worker.housekeeping.reaper import Reaper

LAYERS = 16
TELLS_TIMES = {"report.json", "report.html", "provenance.json"}
SENTENCE = "a small machine prunes one layer after another until the night falls upon it"


class Fleet:
    """A service whose workers run on machines of their own: a work folder, a process group."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = make_engine(settings.database_url.get_secret_value())
        self.store = Store(self.engine, lease_seconds=settings.lease_seconds)
        self.queue = Queue(settings.redis_url.get_secret_value())
        self.reaper = Reaper(settings, self.store, self.queue)
        self.artifacts = Artifacts(settings.artifacts_url)
        self.machines: list[subprocess.Popen[bytes]] = []

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker on a new machine."""
        settings, folder = self.settings, self.settings.home / name
        folder.mkdir()
        environment = os.environ | {
            "SLIMGPT_HOME": str(settings.home),
            "SLIMGPT_DATABASE_URL": settings.database_url.get_secret_value(),
            "SLIMGPT_REDIS_URL": settings.redis_url.get_secret_value(),
            "SLIMGPT_ARTIFACTS_URL": settings.artifacts_url,
            "SLIMGPT_WORK_ROOT": str(folder / "work"),
            "SLIMGPT_LEASE_SECONDS": str(settings.lease_seconds),
            "SLIMGPT_DEVICE": "cpu",
        }
        with (folder / "log").open("wb") as log:
            command = launch.command([sys.executable, "-m", "worker"])
            machine = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.machines.append(machine)
        return machine

    def lose(self, machine: subprocess.Popen[bytes], name: str) -> None:
        """The machine is gone, with all that it had on its disk."""
        os.killpg(machine.pid, signal.SIGKILL)
        machine.wait(30)
        folder = self.settings.home / name / "work"

        def gone() -> bool:
            shutil.rmtree(folder, ignore_errors=True)  # its engine may write until it is dead
            return not folder.exists()

        wait_until(gone, "nothing is left of it")

    def give_up(self, job: Job) -> None:
        """The lost machine's lease runs out."""
        (lost,) = self.store.reap(job.created_at.replace(year=2100))
        assert lost.status is Status.QUEUED
        self.queue.publish(job.id)

    def submit(self, spec: PruneSpec) -> Job:
        job = self.store.create(spec)
        self.queue.publish(job.id)
        self.store.dispatched(job.id)
        return job

    def shared(self, job: Job) -> int:
        """Layers of the first attempt that have reached the store, records and all."""
        try:
            state = json.loads(self.artifacts.read(f"work/{job.id}/1", "state.json"))
        except FileNotFoundError:
            return 0
        records = [entry["path"] for entry in state["files"] if entry["path"].endswith(".json")]
        return sum(not path.endswith(damage.FILE) for path in records)

    def end_of(self, job: Job) -> Job:
        """The job when it is over, with a reaper at work."""

        def over() -> Job | None:
            self.reaper.look()
            now = self.store.get(job.id)
            return now if now is not None and now.terminal else None

        ended: Job = wait_until(over, "the job is over", 200)
        return ended

    def published(self, job: Job) -> dict[str, str]:
        """Hashes of the job's files."""
        assert job.artifacts_prefix is not None
        return {file.path: file.sha256 for file in self.artifacts.list(job.artifacts_prefix)}

    def close(self) -> None:
        for machine in self.machines:
            if machine.poll() is None:
                os.killpg(machine.pid, signal.SIGKILL)
                machine.wait(30)
        self.queue.close()
        self.engine.dispose()


@pytest.fixture
def fleet(settings: Settings, bucket_url: str) -> Iterator[Fleet]:
    changes = {"artifacts_url": bucket_url, "lease_seconds": 30.0}
    made = Fleet(settings.model_copy(update=changes))
    yield made
    made.close()


def write_sources(settings: Settings) -> PruneSpec:
    """A tiny model of many layers and a text; the job that prunes it."""
    from tests.slimgpt.tiny import Tiny

    Tiny(layers=LAYERS, hidden=64, channels=192, tokenizer=True).save(settings.models_root / "tiny")
    chosen = random.Random(0)
    lines = (" ".join(chosen.choices(SENTENCE.split(), k=60)) for _ in range(400))
    (settings.texts_root / "words.txt").write_text("\n\n".join(lines))
    calibration = {"source": "local:words.txt", "samples": 64, "sequence_length": 128}
    evaluation = {"max_tokens": 256}
    return PruneSpec.model_validate(
        {"model": "local:tiny", "ratio": 0.2, "calibration": calibration, "evaluation": evaluation}
    )


def undisturbed(spec: PruneSpec, settings: Settings) -> dict[str, str]:
    """Hashes of what one run from first to last makes."""
    from slimgpt.pipeline import run
    from slimgpt.sources.roots import Roots

    roots = Roots(models=settings.models_root, texts=settings.texts_root)
    for _ in run(spec, settings.home / "whole", roots, "cpu"):
        pass
    folder = settings.home / "whole" / "checkpoint"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.mark.timeout(600)  # three starts of the engine, on a machine that may be busy
def test_a_lost_machine_costs_no_layer_and_no_byte(fleet: Fleet) -> None:
    spec = write_sources(fleet.settings)
    job, first = fleet.submit(spec), fleet.start("first")
    wait_until(lambda: fleet.shared(job) >= 2, "two layers are in the store", 200)
    fleet.lose(first, "first")
    known = fleet.shared(job)
    lost = fleet.store.get(job.id)
    assert lost is not None
    assert lost.status is Status.RUNNING
    fleet.give_up(job)
    fleet.start("second")
    done = fleet.end_of(job)
    assert (done.status, done.attempt) == (Status.SUCCEEDED, 2), done.error
    resumed = [layer.resumed for layer in fleet.store.layers(job.id)]
    assert resumed == [True] * known + [False] * (LAYERS - known)
    wait_until(lambda: not fleet.artifacts.children("work"), "the layers are gone with the job")
    whole = undisturbed(spec, fleet.settings)
    published = fleet.published(done)
    assert set(published) == set(whole)
    assert {path for path in whole if published[path] != whole[path]} <= TELLS_TIMES
    assert "model.safetensors" in whole
