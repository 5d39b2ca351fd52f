"""`Decision`: what a recovery finds out before it trains: steps, batch, learning rate.

It depends on the machine's speed, so it is stored and never made twice: what is trained after it
is the same, however often it is interrupted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from slimgpt.machine import disk
from slimgpt.recovery.probe import Tried
from slimgpt.recovery.schedule import Schedule

FEWEST_STEPS = 256
"""That a batch is to leave within a time limit: fewer and larger steps learn less in it."""
SMALLEST_BATCH, LARGEST_BATCH = 4, 64
PASSES = 4.0
"""Over the text within a time limit; more of them teach little (Muennighoff et al., 2023)."""
RESERVE = 0.03  # of the time, for snapshots and for merging


class Decision(BaseModel):
    """How a recovery trains.

    Attributes:
        learning_rate: the highest.
        tried: of the probe; empty where the rate was given.
        seconds: for training, of a time limit; None: none.
        step_seconds: of a step, as measured; None: nothing was.
    """

    steps: int
    batch_size: int
    learning_rate: float
    tried: list[Tried] = []
    seconds: float | None = None
    step_seconds: float | None = None

    def write(self, file: Path) -> None:
        """Store it.

        Raises:
            StorageError: the disk is full.
        """
        disk.write_text(file, self.model_dump_json(indent=2) + "\n")

    def schedule(self, warmup: int) -> Schedule:
        """The learning rates of the steps."""
        return Schedule(self.learning_rate, self.steps, min(warmup, self.steps - 1))

    @classmethod
    def read(cls, file: Path) -> Decision | None:
        """The stored one, if there is one."""
        return cls.model_validate_json(file.read_bytes()) if file.exists() else None


@dataclass(frozen=True)
class Pace:
    """What things take, in seconds.

    Attributes:
        sequence: to learn from a sequence.
        teacher: to ask the teacher about one; 0 without a teacher.
        measurement: of all held-out loss.
    """

    sequence: float
    teacher: float = 0.0
    measurement: float = 0.0


def steps_of(sequences: int, batch: int, epochs: float) -> int:
    """Steps of so many passes over the sequences."""
    return max(1, math.ceil(math.ceil(sequences / batch) * epochs))


def batch_within(seconds: float, pace: Pace) -> int:
    """Sequences of a step: a power of two that leaves steps enough."""
    learned = seconds / (pace.sequence + pace.teacher)
    batch = LARGEST_BATCH
    while batch > SMALLEST_BATCH and learned / batch < FEWEST_STEPS:
        batch //= 2
    return batch


def steps_within(
    seconds: float, pace: Pace, batch: int, *, sequences: int, asked: int, measurements: int
) -> int:
    """Steps that fit into a time, one at least.

    Args:
        sequences: that there are; the teacher is asked about each once.
        asked: about how many of them it was already.
        measurements: of the held-out loss, over the whole training.
    """
    left = seconds * (1 - RESERVE) - measurements * pace.measurement
    step = batch * pace.sequence
    fresh = max(0, sequences - asked) / batch  # steps whose sequences are yet to be asked about
    free = asked / batch  # steps whose sequences are not
    if left <= free * step:
        return max(1, int(left / step))
    left -= free * step
    dear = step + batch * pace.teacher
    if left <= fresh * dear:
        return max(1, int(free + left / dear))
    return max(1, int(free + fresh + (left - fresh * dear) / step))
