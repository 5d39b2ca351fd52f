"""Faults of processes: killed, stopped, told to end, with a wrong clock."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults import engine
from tests.faults.fault import fault
from tests.faults.stack import REAPERS, WORKERS
from tests.faults.trial import Trial, family

SHIFT_SECONDS = 7200


@fault()
def nothing(trial: Trial) -> None:
    """Nothing: the control."""
    trial.post()


@fault()
def engine_killed(trial: Trial) -> None:
    """`kill -9` of the engine."""
    trial.post()
    trial.working()
    for process in trial.stack.engines():
        with suppress(psutil.NoSuchProcess):
            process.kill()


@fault()
def child_killed(trial: Trial) -> None:
    """`kill -9` of the Celery child that holds the job."""
    trial.post()
    trial.at_a_moment()
    kill_child(trial)


@fault()
def parent_killed(trial: Trial) -> None:
    """`kill -9` of the worker, Celery's parent process."""
    trial.post()
    trial.at_a_moment()
    name, _ = trial.holder()
    trial.stack.kill(name)


@fault()
def machine_lost(trial: Trial) -> None:
    """A worker's machine lost: all its processes and its working folder."""
    trial.post()
    trial.at_a_moment()
    name, _ = trial.holder()
    for process in list(family(trial.stack.process(name))):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    trial.stack.kill(name)
    shutil.rmtree(trial.stack.work / trial.job_id, ignore_errors=True)


@fault()
def worker_terminated(trial: Trial) -> None:
    """TERM to the worker: a planned shutdown."""
    trial.post()
    trial.at_a_moment()
    name, _ = trial.holder()
    process = trial.stack.process(name)
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@fault()
def machine_shut_down(trial: Trial) -> None:
    """TERM to the worker, its child and its engine at once: a machine, or a unit, that ends."""
    trial.post()
    trial.at_a_moment()
    name, _ = trial.holder()
    process = trial.stack.process(name)
    for one in reversed(list(family(process))):  # the engine hears of it first
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    process.wait(60)


@fault()
def worker_stalled(trial: Trial) -> None:
    """STOP to the worker past its lease, CONT when another has the job or has finished it."""
    _stall(trial, with_engine=False)


@fault()
def machine_stalled(trial: Trial) -> None:
    """STOP to the worker and its engine: a machine that slept."""
    _stall(trial, with_engine=True)


def _stall(trial: Trial, *, with_engine: bool) -> None:
    trial.post()
    trial.at_a_moment()
    name, child = trial.holder()
    engines = [] if with_engine else trial.stack.engines()
    stalled = [one for one in family(trial.stack.process(name)) if one not in engines]
    for process in stalled:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    before = trial.now()
    if child is not None and before is not None:
        taken = before.lease_epoch
        trial.until(lambda job: job.terminal or job.lease_epoch > taken)
        trial.pause(0.0, 2 * engine.LAYERS * trial.stack.layer_seconds)
    for process in reversed(stalled):
        with suppress(psutil.NoSuchProcess):
            process.resume()


@fault(hides_losses=True)
def reapers_killed(trial: Trial) -> None:
    """`kill -9` of both reapers, and of the child whose loss they were to see."""
    trial.post()
    trial.at_a_moment()
    kill_child(trial)
    trial.pause(0.0, 1.5 * trial.stack.lease_seconds)
    for name in REAPERS:
        trial.stack.kill(name)


@fault()
def clock_wrong(trial: Trial) -> None:
    """Workers whose clocks are two hours off, one early, one late, and one of them killed."""
    ahead = trial.random.choice([1, -1])
    for name, sign in zip(WORKERS, (ahead, -ahead), strict=True):
        trial.stack.kill(name)
        shift = str(sign * SHIFT_SECONDS)
        trial.stack.run(name, {"PYTHONPATH": str(Path(__file__).parent / "clock"), "SHIFT": shift})
    trial.stack.repair()
    trial.post()
    trial.at_a_moment()
    kill_child(trial)
    trial.until(lambda job: job.terminal)
    for name in WORKERS:
        trial.stack.kill(name)


def kill_child(trial: Trial) -> None:
    _, child = trial.holder()
    if child is not None:
        with suppress(psutil.NoSuchProcess):
            child.kill()
