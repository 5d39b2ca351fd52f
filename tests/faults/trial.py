"""`Trial`: one job, one fault at a random moment, and what was seen of both."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from jobs.states import HELD, Status
from jobs.store.records import Job
from tests.faults import engine
from tests.faults.stack import Stack
from tests.servers import wait_until

SCRIPTED: dict[str, Any] = {"model": engine.MODEL, "ratio": 0.5, "calibration": {"source": "c4"}}
PUBLISH_SECONDS = 0.1
END_SECONDS = 120.0
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class CancelTimes:
    """Seconds from the request to cancel: until no engine ran, until the status said so."""

    engine_gone: float
    cancelled: float


@dataclass
class Trial:
    """What a fault works with.

    Args:
        stack: whole and idle.
        seed: all that is random hangs on it.
        body: the job.
    """

    stack: Stack
    seed: str
    body: dict[str, Any] = field(default_factory=lambda: dict(SCRIPTED))
    notes: list[str] = field(default_factory=list)
    job_id: str = ""
    cancel_times: CancelTimes | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def post(self) -> str:
        """Post the job; its id."""
        headers = {"Idempotency-Key": f"trial-{self.seed}"}
        answer = self.stack.http.post("/jobs", json=self.body, headers=headers)
        answer.raise_for_status()
        self.job_id = answer.json()["id"]
        return self.job_id

    def now(self) -> Job | None:
        """The job as it is; None while the database is away."""
        return self.stack.job(self.job_id)

    def at_a_moment(self) -> None:
        """Wait for a random moment of the job's life; not longer than that life."""
        layers = engine.LAYERS
        moments: list[tuple[Callable[[Job], bool], float]] = [
            (lambda job: True, 1.0),
            *((lambda job, n=n: job.layers_done >= n, self.stack.layer_seconds)
              for n in range(layers)),
            (lambda job: job.layers_done >= layers, engine.CHILD_SECONDS),
            (lambda job: job.stage == "publish", PUBLISH_SECONDS),
        ]  # fmt: skip
        reached, most = self.random.choice(moments)
        self.until(lambda job: job.terminal or (job.status in HELD and reached(job)))
        self.pause(0.0, most)

    def working(self) -> None:
        """Wait for a random moment while the engine works."""
        layer = self.random.randrange(engine.LAYERS)
        self.until(lambda job: job.terminal or (job.status in HELD and job.layers_done >= layer))
        self.pause(0.0, self.stack.layer_seconds)

    def until(self, reached: Callable[[Job], bool], seconds: float = END_SECONDS) -> Job:
        """Wait until the job is so far, through outages of the database.

        Raises:
            TimeoutError: it was not in time.
        """

        def look() -> Job | None:
            job = self.now()
            return job if job is not None and reached(job) else None

        found: Job = wait_until(look, f"{self.job_id} is so far", seconds)
        return found

    def pause(self, least: float, most: float) -> None:
        """Wait for a random time."""
        time.sleep(self.random.uniform(least, most))

    def holder(self) -> tuple[str, psutil.Process | None]:
        """Name of the worker that holds the job, or of any, and its child with the job."""
        child = self.stack.child_of(self.now())
        names = [f"worker-{n}" for n in (0, 1)]
        for name in names:
            with suppress(psutil.NoSuchProcess, KeyError):
                if child is not None and child.ppid() == self.stack.process(name).pid:
                    return name, child
        return self.random.choice(names), None

    def cancel(self) -> bool:
        """Ask for the end, and watch how soon it comes; False if the job was over before."""
        _, child = self.holder()
        engines = self.stack.engines() if child is not None else []
        began = time.monotonic()
        answer = self.stack.http.post(f"/jobs/{self.job_id}/cancel")
        if answer.status_code == httpx.codes.CONFLICT:
            return False
        answer.raise_for_status()
        gone, over = 0.0, 0.0
        while not (gone and over) and time.monotonic() - began < END_SECONDS:
            if not gone and not any(map(lives, engines)):
                gone = time.monotonic() - began
            job = self.now()
            if not over and job is not None and job.terminal:
                over = time.monotonic() - began
            time.sleep(LOOK_SECONDS)
        if engines and job is not None and job.status is Status.CANCELLED:
            self.cancel_times = CancelTimes(gone, over)
        return True


def lives(process: psutil.Process) -> bool:
    """Whether it runs, and is no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def family(process: psutil.Process) -> Iterator[psutil.Process]:
    """A process and all below it, while they live."""
    with suppress(psutil.NoSuchProcess):
        yield process
        yield from process.children(recursive=True)
