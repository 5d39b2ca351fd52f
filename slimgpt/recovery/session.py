"""`Session`: a recovery, from tokenised text to the trained student.

    decide   measure step time, try learning rates, compute the number of steps; stored once
    cache    write the teacher's distributions for all training sequences to disk
    train    optimizer steps, with snapshots

Student and teacher are never in memory at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from slimgpt.events import Event, Loss, Progress, Warned
from slimgpt.recovery import decision as decisions
from slimgpt.recovery import probe
from slimgpt.recovery.batches import HELD_OUT_ROWS, Batches
from slimgpt.recovery.decision import Decision, StepTimes
from slimgpt.recovery.student import ForwardModel, Student
from slimgpt.recovery.teacher import SHARD, TeacherCache
from slimgpt.recovery.training import Training, train
from slimgpt.spec.prune import RecoverySpec
from slimgpt.texts.label_masking import IGNORED

DECISION, SNAPSHOTS = "decision.json", "training"
MEASUREMENTS, MEASUREMENTS_IN_TIME = 10, 3
PROBE_SHARE = 0.12  # share of the time limit for four rates
FORWARD_SHARE = 0.4  # a forward pass's share of a step's time
RATE_UNPROBED = 1e-4  # the paper's


@dataclass(frozen=True)
class Teacher:
    """The teacher of a distillation.

    Attributes:
        load: loads the model.
        cache: its distributions on disk.
    """

    load: Callable[[], ForwardModel]
    cache: TeacherCache


@dataclass(frozen=True)
class Session:
    """Inputs of a recovery.

    Attributes:
        load_student: loads the student in its initial state.
        teacher: None to train on labels.
        folder: for the decision and the snapshots.
        began: start of the recovery by `time.monotonic`; the time limit counts from there.
    """

    spec: RecoverySpec
    batches: Batches
    load_student: Callable[[], Student]
    teacher: Teacher | None
    folder: Path
    device: torch.device
    began: float

    def run(self) -> Generator[Event, None, tuple[Student, Decision, list[Loss]]]:
        """Choose hyperparameters, cache the teacher's distributions, and train.

        Returns:
            the trained student, the decision, and the loss curves.

        Raises:
            NumericalError: a loss is not finite.
            StorageError: the disk is full.
        """
        file = self.folder / DECISION
        decided = Decision.read(file)
        if decided is None:
            decided = yield from self._decide()
            decided.write(file)
        yield from self._cache_teacher(decided.steps * decided.batch_size)
        training = self._training(decided.batch_size)
        if little := self._little_text(decided, training.student):
            yield Warned(message=little)
        points = yield from train(
            training,
            decided.schedule(self.spec.warmup_steps),
            self.folder / SNAPSHOTS,
            seconds=decided.seconds,
            measurements=self._measurements,
        )
        return training.student, decided, points

    def _little_text(self, decided: Decision, student: Student) -> str:
        sequences = self.batches.sequences
        return decisions.little_text(
            len(sequences),
            sum(label != IGNORED for one in sequences for label in one.labels),
            decided.steps * decided.batch_size,
            sum(weight.numel() for weight in student.weights().values()),
        )

    def _decide(self) -> Generator[Event, None, Decision]:
        if self.spec.minutes is None:
            batch = self._batch(decisions.LARGEST_BATCH)
            steps = self._epoch_steps(batch)
            yield from self._cache_teacher(steps * batch)
            rate, tried = yield from self._rate(batch, min(probe.STEPS, max(1, steps // 4)))
            return Decision(steps=steps, batch_size=batch, learning_rate=rate, tried=tried)
        yield Progress(stage="recover", done=0, total=1, what="timing a step")
        times = self._estimated_times()
        batch = self._batch(decisions.batch_within(self._left(), times))
        steps = int(self._left() * PROBE_SHARE / 4 / (batch * times.sequence))
        steps = min(probe.STEPS, max(2, steps))
        times = yield from self._measured_times(times, steps * batch)
        rate, tried = yield from self._rate(batch, steps)
        if tried:
            times = self._times(
                sum(one.step_seconds for one in tried) / len(tried) / batch, times.teacher
            )
        count = yield from self._count(batch, times, steps * batch)
        return Decision(
            steps=count,
            batch_size=batch,
            learning_rate=rate,
            tried=tried,
            seconds=self._left() * (1 - decisions.RESERVE),
            step_seconds=batch * times.sequence,
        )

    def _count(self, batch: int, times: StepTimes, asked: int) -> Generator[Event, None, int]:
        """Number of steps that fit into the time limit, updated after the teacher has run."""
        sequences = len(self.batches.sequences)
        known = min(sequences, asked) if self.teacher else sequences
        steps = self._epoch_steps(batch)
        for already in (known, sequences):
            fitting = decisions.steps_within(
                self._left(),
                times,
                batch,
                sequences=sequences,
                asked=already,
                measurements=self._measurements + 2,
            )
            steps = min(steps, fitting)
            yield from self._cache_teacher(steps * batch)
        return steps

    def _rate(
        self, batch: int, steps: int
    ) -> Generator[Event, None, tuple[float, list[probe.Trial]]]:
        """The learning rate, and the trials that led to it."""
        if self.spec.learning_rate is not None:
            return self.spec.learning_rate, []
        if HELD_OUT_ROWS not in self.batches.held_out:
            message = (
                f"recovery: too few rows for a held-out set: learning rate {RATE_UNPROBED:g} was "
                "used without comparison"
            )
            yield Warned(message=message)
            return RATE_UNPROBED, []
        start = probe.START[self.spec.weights]
        tried = yield from probe.probe(lambda: self._training(batch), steps, start)
        return probe.best(tried), tried

    def _estimated_times(self) -> StepTimes:
        """Durations from one step on labels; the teacher's is estimated from it."""
        few = min(decisions.SMALLEST_BATCH, len(self.batches.sequences))
        training = self._training(few, by_labels=True)
        training.step(0, 0.0)
        began = time.monotonic()
        training.step(1, 0.0)
        return self._times((time.monotonic() - began) / few)

    def _times(self, sequence: float, teacher: float | None = None) -> StepTimes:
        """Durations, given the time to train on one sequence; forward passes take a share of it."""
        guessed = FORWARD_SHARE * sequence if self.teacher else 0.0
        held_out = sum(map(len, self.batches.held_out.values()))
        reading = FORWARD_SHARE * sequence * held_out
        return StepTimes(sequence, guessed if teacher is None else teacher, reading)

    def _measured_times(
        self, times: StepTimes, sequences: int
    ) -> Generator[Event, None, StepTimes]:
        """The durations with the teacher's forward pass measured, if there was one to run."""
        if self.teacher is None:
            return times
        began, before = time.monotonic(), len(self.teacher.cache.missing(sequences))
        yield from self._cache_teacher(sequences)
        if not before:
            return times
        return self._times(times.sequence, (time.monotonic() - began) / (before * SHARD))

    def _cache_teacher(self, sequences: int) -> Generator[Event, None, None]:
        """Write the teacher's distributions for the first sequences to disk, if not there."""
        missing = self.teacher.cache.missing(sequences) if self.teacher else []
        if self.teacher is None or not missing:
            return
        model = self.teacher.load()
        for done, shard in enumerate(missing):
            what = "caching the teacher's distributions"
            yield Progress(stage="recover", done=done, total=len(missing), what=what)
            self.teacher.cache.write(shard, model, self.device)

    def _training(self, batch: int, *, by_labels: bool = False) -> Training:
        cache = self.teacher.cache if self.teacher and not by_labels else None
        return Training(
            self.load_student(),
            self.batches,
            cache,
            batch=batch,
            weight_decay=self.spec.weight_decay,
            temperature=self.spec.temperature,
            seed=self.spec.seed,
        )

    def _epoch_steps(self, batch: int) -> int:
        """Number of steps of the maximum number of epochs."""
        passes = decisions.PASSES if self.spec.minutes is not None else 1.0
        return decisions.steps_of(len(self.batches.sequences), batch, self.spec.epochs or passes)

    def _batch(self, wanted: int) -> int:
        """Batch size: unless it is specified, no step has a sequence twice."""
        return self.spec.batch_size or min(wanted, len(self.batches.sequences))

    def _left(self) -> float:
        """Seconds left until the time limit."""
        assert self.spec.minutes is not None
        return self.spec.minutes * 60 - (time.monotonic() - self.began)

    @property
    def _measurements(self) -> int:
        return MEASUREMENTS if self.spec.minutes is None else MEASUREMENTS_IN_TIME
