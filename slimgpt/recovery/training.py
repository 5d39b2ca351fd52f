"""The training of a recovery: steps of AdamW, measurements, snapshots, as events.

Everything that a step does follows from its number, the weights and the optimizer's state, so a
training that goes on from a snapshot ends with the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from slimgpt.errors import NumericalError, SlimGPTError
from slimgpt.events import Event, Loss, Progress
from slimgpt.recovery.course import Course, micro_batches
from slimgpt.recovery.schedule import Schedule
from slimgpt.recovery.snapshot import Snapshot
from slimgpt.recovery.student import Batch, Student
from slimgpt.recovery.teacher import TeacherCache
from slimgpt.texts.label_masking import Tokens

SNAPSHOTS = 10
LARGEST_GRADIENT = 1.0  # norm over all weights; a larger one is scaled down to it
LATE = 1.05  # of the time: less is not worth a change of the schedule
Clock = Callable[[], float]


class Training:
    """A student, its optimizer, and what it learns from.

    Args:
        teacher: None: the labels are learned.
        batch: sequences of a step.
        temperature: of a teacher's distribution.
        seed: of dropout.
    """

    def __init__(
        self,
        student: Student,
        course: Course,
        teacher: TeacherCache | None,
        *,
        batch: int,
        weight_decay: float = 0.0,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.student, self.course, self.teacher = student, course, teacher
        self.batch, self.temperature, self.seed = batch, temperature, seed
        self.weights = student.weights()
        self.optimizer = _adamw(self.weights, weight_decay)
        self._device = next(iter(self.weights.values())).device

    def step(self, number: int, rate: float) -> float:
        """One step of the optimizer; the mean loss of its learned tokens, in nats.

        Args:
            number: counted from 0.
        """
        torch.manual_seed(self.seed * 1_000_003 + number)
        self.student.model.train()
        places = self.course.batch(number, self.batch)
        learned = sum(self.course.learned[place].learned for place in places)
        summed = torch.zeros((), device=self._device)
        for piece in micro_batches(places, self.course.longest):
            loss = self._loss(piece) / learned
            torch.autograd.backward(loss)
            summed += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), LARGEST_GRADIENT)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(summed)

    @torch.no_grad()
    def measure(self, sequences: Sequence[Tokens]) -> float:
        """Mean loss of the labels over held-out sequences, in nats a token."""
        self.student.model.eval()
        longest = max(len(one.input_ids) for one in sequences)
        summed = sum(
            float(self.student.loss(self._tensors([sequences[n] for n in piece]), None))
            for piece in micro_batches(range(len(sequences)), longest)
        )
        return summed / sum(one.learned for one in sequences)

    def _loss(self, places: Sequence[int]) -> Tensor:
        batch = self._tensors([self.course.learned[place] for place in places])
        wanted = None if self.teacher is None else self.teacher.of(places, self._device)
        return self.student.loss(batch, wanted, self.temperature)

    def _tensors(self, sequences: Sequence[Tokens]) -> Batch:
        collated = self.course.collate(sequences)
        return {name: tensor.to(self._device) for name, tensor in collated.items()}


def train(
    training: Training,
    schedule: Schedule,
    folder: Path,
    *,
    seconds: float | None = None,
    measurements: int = 10,
    clock: Clock = time.monotonic,
) -> Generator[Event, None, list[Loss]]:
    """Train to the schedule's end, from the newest snapshot where there is one.

    Args:
        folder: of the snapshots.
        seconds: time for it; if it turns out to be too short, the schedule is cut to fit.
        measurements: of the held-out loss, besides those before the first step and after the last.

    Returns:
        the points of the loss curves, those from before a resume included.

    Raises:
        NumericalError: a loss is not finite.
        StorageError: the disk is full.
    """
    began, state = clock(), Snapshot.newest(folder)
    if state is None:
        state = Snapshot(schedule=schedule)
        yield from _told(state, _measured(training, state, Loss(step=0, steps=schedule.steps)))
    else:
        state.load(training.weights, training.optimizer)
    before = state.seconds
    every = max(1, schedule.planned // (measurements + 1))
    save_every = max(1, schedule.planned // SNAPSHOTS)
    while state.step < state.schedule.steps:
        rate = state.schedule.at(state.step)
        loss = training.step(state.step, rate)
        state.step += 1
        if state.step % save_every == 0 and seconds is not None:
            state.fit(before + clock() - began, seconds, LATE)
        steps, last = state.schedule.steps, state.step == state.schedule.steps
        point = Loss(step=state.step, steps=steps, learning_rate=rate, train=loss)
        if last or state.step % every == 0:
            point = _measured(training, state, point)
        yield from _told(state, point)
        if last or state.step % save_every == 0:
            state.seconds = before + clock() - began
            state.save(folder, training.weights, training.optimizer)
    return state.points


def _measured(training: Training, state: Snapshot, point: Loss) -> Loss:
    held_out = training.course.held_out
    found = {name: training.measure(sequences) for name, sequences in held_out.items()}
    return point.model_copy(update=found)


def _told(state: Snapshot, point: Loss) -> Generator[Event, None, None]:
    """Keep a point, and say it."""
    for name in ("train", "text", "lessons"):
        value = getattr(point, name)
        if value is not None and not math.isfinite(value):
            raise _diverged(name, value, point)
    state.points.append(point)
    yield point
    if point.train is not None:
        what = f"training, loss {point.train:.3f}"
        yield Progress(stage="recover", done=point.step, total=point.steps, what=what)


def _adamw(weights: dict[str, torch.nn.Parameter], decay: float) -> torch.optim.AdamW:
    """AdamW; biases and the scales of norms do not decay."""
    matrices = [weight for weight in weights.values() if weight.ndim > 1]
    vectors = [weight for weight in weights.values() if weight.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)


def _diverged(name: str, value: float, point: Loss) -> SlimGPTError:
    which = "training loss" if name == "train" else "held-out loss"
    return NumericalError(
        f"recovery: the {which} is {value} at step {point.step} of {point.steps}",
        hint="lower `recovery.learning_rate`, or recover without: the pruned layers are kept",
    )
