"""`Decision`: number of steps, batch size and learning rate, chosen before training.

They depend on the machine's speed, so they are stored: an interrupted training resumes with the
same values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from slimgpt.machine import disk
from slimgpt.recovery.probe import Trial
from slimgpt.recovery.schedule import Schedule

FEWEST_STEPS = 256
"""Steps that a batch size must allow within a time limit; fewer, larger steps learn less."""
SMALLEST_BATCH, LARGEST_BATCH = 4, 64
PASSES = 4.0
"""Epochs within a time limit; more improve little (Muennighoff et al., 2023)."""
MANY_PASSES = 2 * PASSES
"""Epochs from which the text is learnt by heart rather than from."""
FEW_TOKENS = 0.01
"""Learned tokens for each trained parameter below which there are few; the paper's recovery of a 7B
model (Alpaca, adapters of rank 8) has about 0.2."""
RESERVE = 0.03  # share of the time for snapshots and for merging


class Decision(BaseModel):
    """The chosen hyperparameters of a training.

    Attributes:
        learning_rate: peak of the schedule.
        tried: trials of the learning-rate probe; empty if the rate was specified.
        seconds: training time; None without a time limit.
        step_seconds: measured duration of a step; None if not measured.
    """

    steps: int
    batch_size: int
    learning_rate: float
    tried: list[Trial] = []
    seconds: float | None = None
    step_seconds: float | None = None

    def write(self, file: Path) -> None:
        """Write the values to a file.

        Raises:
            StorageError: the disk is full.
        """
        disk.write_text(file, self.model_dump_json(indent=2) + "\n")

    def schedule(self, warmup: int) -> Schedule:
        """The learning-rate schedule."""
        return Schedule(self.learning_rate, self.steps, min(warmup, self.steps - 1))

    @classmethod
    def read(cls, file: Path) -> Decision | None:
        """The stored values; None if there are none."""
        return cls.model_validate_json(file.read_bytes()) if file.exists() else None


@dataclass(frozen=True)
class StepTimes:
    """Measured durations, in seconds.

    Attributes:
        sequence: training on one sequence.
        teacher: the teacher's forward pass over one sequence; 0 without a teacher.
        measurement: evaluation of all held-out losses.
    """

    sequence: float
    teacher: float = 0.0
    measurement: float = 0.0


def steps_of(sequences: int, batch: int, epochs: float) -> int:
    """Number of steps for a number of epochs over the sequences."""
    return max(1, math.ceil(math.ceil(sequences / batch) * epochs))


def little_text(sequences: int, tokens: int, seen: int, trainable: int) -> str:
    """A warning of a text that is small for what is trained on it; empty if it is not.

    Args:
        sequences: number of training sequences.
        tokens: that are learned in all of them.
        seen: number of sequences in all steps together.
        trainable: number of trained parameters.
    """
    passes, each = seen / sequences, tokens / trainable
    if passes < MANY_PASSES and each >= FEW_TOKENS:
        return ""
    return (
        f"recovery: little text: {tokens:,} tokens for {trainable:,} trained parameters "
        f"({each:.2g} for each), seen {passes:.3g} times: it may be learnt by heart; use "
        "more text, or train fewer parameters or epochs"
    )


def batch_within(seconds: float, times: StepTimes) -> int:
    """Batch size within a time limit: a power of two that allows enough steps."""
    learned = seconds / (times.sequence + times.teacher)
    batch = LARGEST_BATCH
    while batch > SMALLEST_BATCH and learned / batch < FEWEST_STEPS:
        batch //= 2
    return batch


def steps_within(
    seconds: float, times: StepTimes, batch: int, *, sequences: int, asked: int, measurements: int
) -> int:
    """Number of steps that fit into a time limit, at least one.

    Args:
        seconds: the time limit.
        sequences: number of training sequences; the teacher reads each once.
        asked: number of sequences that the teacher has read already.
        measurements: evaluations of the held-out losses during the training.
    """
    left = seconds * (1 - RESERVE) - measurements * times.measurement
    step = batch * times.sequence
    fresh = max(0, sequences - asked) / batch  # steps that include the teacher's forward pass
    free = asked / batch  # steps whose sequences are cached
    if left <= free * step:
        return max(1, int(left / step))
    left -= free * step
    dear = step + batch * times.teacher
    if left <= fresh * dear:
        return max(1, int(free + left / dear))
    return max(1, int(free + fresh + (left - fresh * dear) / step))
