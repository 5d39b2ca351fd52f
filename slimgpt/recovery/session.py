"""`Session`: a recovery from the loaded text to the trained student.

    decide   time steps, try learning rates, count the steps that fit (stored, so made once)
    ask      have the teacher's distribution of all sequences that will be learned on disk
    train    steps of the optimizer, with snapshots

Student and teacher are opened in turn, and never held at the same time.
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
from slimgpt.recovery.course import LESSONS, Course
from slimgpt.recovery.decision import Decision, Pace
from slimgpt.recovery.student import Reader, Student
from slimgpt.recovery.teacher import SHARD, TeacherCache
from slimgpt.recovery.training import Clock, Training, train
from slimgpt.spec.prune import RecoverySpec

DECISION, SNAPSHOTS = "decision.json", "training"
MEASUREMENTS, MEASUREMENTS_IN_TIME = 10, 3
PROBE_SHARE = 0.12  # of the time, for four rates
FORWARD_SHARE = 0.4  # of a step's time, for reading as many tokens
RATE_UNPROBED = 1e-4  # the paper's


@dataclass(frozen=True)
class Teacher:
    """Whom a distillation learns from.

    Attributes:
        open: loads it.
        cache: what it said.
    """

    open: Callable[[], Reader]
    cache: TeacherCache


@dataclass(frozen=True)
class Session:
    """What a recovery works with.

    Attributes:
        open_student: loads it as it is before the first step.
        teacher: None: the labels are learned.
        folder: for the decision and the snapshots.
        began: when the recovery did, by the clock; its time counts from there.
    """

    spec: RecoverySpec
    course: Course
    open_student: Callable[[], Student]
    teacher: Teacher | None
    folder: Path
    device: torch.device
    began: float
    clock: Clock = time.monotonic

    def run(self) -> Generator[Event, None, tuple[Student, Decision, list[Loss]]]:
        """Decide, ask, train.

        Returns:
            the trained student, what was decided, and the loss curves.

        Raises:
            NumericalError: a loss is not finite.
            StorageError: the disk is full.
        """
        file = self.folder / DECISION
        decided = Decision.read(file)
        if decided is None:
            decided = yield from self._decide()
            decided.write(file)
        yield from self._ask(decided.steps * decided.batch_size)
        training = self._training(decided.batch_size)
        points = yield from train(
            training,
            decided.schedule(self.spec.warmup_steps),
            self.folder / SNAPSHOTS,
            seconds=decided.seconds,
            measurements=self._measurements,
            clock=self.clock,
        )
        return training.student, decided, points

    def _decide(self) -> Generator[Event, None, Decision]:
        if self.spec.minutes is None:
            batch = self.spec.batch_size or decisions.LARGEST_BATCH
            steps = self._most(batch)
            yield from self._ask(steps * batch)
            rate, tried = yield from self._rate(batch, min(probe.STEPS, max(1, steps // 4)))
            return Decision(steps=steps, batch_size=batch, learning_rate=rate, tried=tried)
        yield Progress(stage="recover", done=0, total=1, what="timing a step")
        pace = self._rough_pace()
        batch = self.spec.batch_size or decisions.batch_within(self._left(), pace)
        steps = int(self._left() * PROBE_SHARE / 4 / (batch * pace.sequence))
        steps = min(probe.STEPS, max(2, steps))
        pace = yield from self._asked_pace(pace, steps * batch)
        rate, tried = yield from self._rate(batch, steps)
        if tried:
            pace = self._pace(
                sum(one.step_seconds for one in tried) / len(tried) / batch, pace.teacher
            )
        count = yield from self._count(batch, pace, steps * batch)
        return Decision(
            steps=count,
            batch_size=batch,
            learning_rate=rate,
            tried=tried,
            seconds=self._left() * (1 - decisions.RESERVE),
            step_seconds=batch * pace.sequence,
        )

    def _count(self, batch: int, pace: Pace, asked: int) -> Generator[Event, None, int]:
        """The steps that fit into the time, counted again when the teacher has been asked."""
        sequences = len(self.course.learned)
        known = min(sequences, asked) if self.teacher else sequences
        steps = self._most(batch)
        for already in (known, sequences):
            fitting = decisions.steps_within(
                self._left(),
                pace,
                batch,
                sequences=sequences,
                asked=already,
                measurements=self._measurements + 2,
            )
            steps = min(steps, fitting)
            yield from self._ask(steps * batch)
        return steps

    def _rate(
        self, batch: int, steps: int
    ) -> Generator[Event, None, tuple[float, list[probe.Tried]]]:
        """The learning rate, and what was tried for it."""
        if self.spec.learning_rate is not None:
            return self.spec.learning_rate, []
        if LESSONS not in self.course.held_out:
            message = (
                f"recovery: too few rows to hold some out, so learning rate {RATE_UNPROBED:g} "
                "was not compared with others"
            )
            yield Warned(message=message)
            return RATE_UNPROBED, []
        start = probe.START[self.spec.weights]
        tried = yield from probe.probe(lambda: self._training(batch), steps, start)
        return probe.best(tried), tried

    def _rough_pace(self) -> Pace:
        """A step's cost by the labels of a few sequences; the teacher's is guessed from it."""
        few = min(decisions.SMALLEST_BATCH, len(self.course.learned))
        training = self._training(few, by_labels=True)
        training.step(0, 0.0)
        began = self.clock()
        training.step(1, 0.0)
        return self._pace((self.clock() - began) / few)

    def _pace(self, sequence: float, teacher: float | None = None) -> Pace:
        """The pace where learning from a sequence takes so long; reading takes a part of that."""
        guessed = FORWARD_SHARE * sequence if self.teacher else 0.0
        held_out = sum(map(len, self.course.held_out.values()))
        reading = FORWARD_SHARE * sequence * held_out
        return Pace(sequence, guessed if teacher is None else teacher, reading)

    def _asked_pace(self, pace: Pace, sequences: int) -> Generator[Event, None, Pace]:
        """The pace with the teacher's cost as it was measured, if it was asked."""
        if self.teacher is None:
            return pace
        began, before = self.clock(), len(self.teacher.cache.missing(sequences))
        yield from self._ask(sequences)
        if not before:
            return pace
        return self._pace(pace.sequence, (self.clock() - began) / (before * SHARD))

    def _ask(self, sequences: int) -> Generator[Event, None, None]:
        """Have what the teacher says of the first so many sequences on disk."""
        missing = self.teacher.cache.missing(sequences) if self.teacher else []
        if self.teacher is None or not missing:
            return
        reader = self.teacher.open()
        for done, shard in enumerate(missing):
            what = "the teacher reads the text"
            yield Progress(stage="recover", done=done, total=len(missing), what=what)
            self.teacher.cache.write(shard, reader, self.device)

    def _training(self, batch: int, *, by_labels: bool = False) -> Training:
        cache = self.teacher.cache if self.teacher and not by_labels else None
        return Training(
            self.open_student(),
            self.course,
            cache,
            batch=batch,
            weight_decay=self.spec.weight_decay,
            temperature=self.spec.temperature,
            seed=self.spec.seed,
        )

    def _most(self, batch: int) -> int:
        """Steps of all passes over the sequences that there may be."""
        passes = decisions.PASSES if self.spec.minutes is not None else 1.0
        return decisions.steps_of(len(self.course.learned), batch, self.spec.epochs or passes)

    def _left(self) -> float:
        """Seconds left of the time limit."""
        assert self.spec.minutes is not None
        return self.spec.minutes * 60 - (self.clock() - self.began)

    @property
    def _measurements(self) -> int:
        return MEASUREMENTS if self.spec.minutes is None else MEASUREMENTS_IN_TIME
