"""What can go wrong, each a named function that does it to a job at a random moment.

A fault posts the job itself, because some happen around the posting. It may leave the service
broken: `judge` has it repaired, as whoever operates it would. Those of processes and those of
servers come first in `FAULTS`; here are what is asked for, and all together.
"""

from __future__ import annotations

# In this order they are done and listed.
from tests.faults import process_faults, server_faults
from tests.faults.fault import FAULTS, MAY_BE_CANCELLED, MAY_FAIL, Fault, fault
from tests.faults.process_faults import kill_child
from tests.faults.trial import Trial

__all__ = ["FAULTS", "Fault", "process_faults", "server_faults"]


# Cancelling


@fault(MAY_BE_CANCELLED)
def cancelled(trial: Trial) -> None:
    """Cancelled, at any moment: waiting, working, publishing."""
    trial.post()
    if trial.random.random() < 0.9:
        trial.at_a_moment()
    trial.cancel()


@fault(MAY_BE_CANCELLED)
def cancelled_at_work(trial: Trial) -> None:
    """Cancelled while the engine works: how soon it is gone."""
    trial.post()
    trial.working()
    trial.cancel()


@fault(MAY_BE_CANCELLED)
def cancelled_when_lost(trial: Trial) -> None:
    """Cancelled when its worker has just been killed."""
    trial.post()
    trial.at_a_moment()
    kill_child(trial)
    trial.cancel()


# All together


@fault(MAY_FAIL, hurts_hints=True, hides_losses=True)
def storm(trial: Trial) -> None:
    """Two or three of: child, worker, Redis, PostgreSQL, one after the other."""
    trial.post()
    for _ in range(trial.random.randint(2, 3)):
        trial.at_a_moment()
        trial.random.choice([kill_child, _kill_worker, _blink_redis, _blink_postgres])(trial)
    trial.stack.repair()


def _kill_worker(trial: Trial) -> None:
    name, _ = trial.holder()
    trial.stack.kill(name)
    trial.stack.repair()


def _blink_redis(trial: Trial) -> None:
    trial.stack.redis.kill()
    trial.stack.redis.start()


def _blink_postgres(trial: Trial) -> None:
    trial.stack.postgres.shoot()
    trial.stack.postgres.start()
