"""The training loop of a recovery: AdamW steps, held-out losses, snapshots, as events.

A step depends only on its number, the weights and the optimizer's state, so a training resumed from
a snapshot ends with the same bytes.
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
from slimgpt.recovery.batches import Batches, micro_batches
from slimgpt.recovery.schedule import Schedule
from slimgpt.recovery.snapshot import Snapshot
from slimgpt.recovery.student import Batch, Student
from slimgpt.recovery.teacher import TeacherCache
from slimgpt.texts.label_masking import Tokens

SNAPSHOTS = 10
MAX_GRADIENT_NORM = 1.0  # over all weights
TOLERANCE = 1.05  # excess over the time limit that does not change the schedule
Clock = Callable[[], float]


class Training:
    """A student, its optimizer and its training sequences.

    Args:
        teacher: None to train on labels.
        batch: batch size in sequences.
        temperature: softmax temperature of the distillation.
        seed: of dropout.
    """

    def __init__(
        self,
        student: Student,
        batches: Batches,
        teacher: TeacherCache | None,
        *,
        batch: int,
        weight_decay: float = 0.0,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.student, self.batches, self.teacher = student, batches, teacher
        self.batch, self.temperature, self.seed = batch, temperature, seed
        self.weights = student.weights()
        self.optimizer = _adamw(self.weights, weight_decay)
        self._device = next(iter(self.weights.values())).device

    def step(self, number: int, rate: float) -> float:
        """Run one optimizer step; returns the mean loss of its labels, in nats.

        Args:
            number: of the step, from 0.
            rate: learning rate.
        """
        torch.manual_seed(self.seed * 1_000_003 + number)
        self.student.model.train()
        places = self.batches.batch(number, self.batch)
        learned = sum(self.batches.sequences[place].learned for place in places)
        summed = torch.zeros((), device=self._device)
        for piece in micro_batches(places, self.batches.longest):
            loss = self._loss(piece) / learned
            torch.autograd.backward(loss)
            summed += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), MAX_GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(summed)

    @torch.no_grad()
    def measure(self, sequences: Sequence[Tokens]) -> float:
        """Mean cross-entropy on held-out sequences, in nats per token."""
        self.student.model.eval()
        longest = max(len(one.input_ids) for one in sequences)
        summed = sum(
            float(self.student.loss(self._tensors([sequences[n] for n in piece]), None))
            for piece in micro_batches(range(len(sequences)), longest)
        )
        return summed / sum(one.learned for one in sequences)

    def _loss(self, places: Sequence[int]) -> Tensor:
        batch = self._tensors([self.batches.sequences[place] for place in places])
        wanted = None if self.teacher is None else self.teacher.of(places, self._device)
        return self.student.loss(batch, wanted, self.temperature)

    def _tensors(self, sequences: Sequence[Tokens]) -> Batch:
        collated = self.batches.collate(sequences)
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
    """Train to the end of the schedule, from the newest snapshot if there is one.

    Args:
        folder: of the snapshots.
        seconds: time limit; if it is too short, the number of steps is reduced.
        measurements: evaluations of the held-out losses, besides those before the first and after
            the last step.

    Returns:
        the loss curves, including points from before a resume.

    Raises:
        NumericalError: a loss is not finite.
        StorageError: the disk is full.
    """
    began, state = clock(), Snapshot.newest(folder)
    if state is None:
        state = Snapshot(schedule=schedule)
        yield from _recorded(state, _measured(training, state, Loss(step=0, steps=schedule.steps)))
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
            state.fit(before + clock() - began, seconds, TOLERANCE)
        steps, last = state.schedule.steps, state.step == state.schedule.steps
        point = Loss(step=state.step, steps=steps, learning_rate=rate, train=loss)
        if last or state.step % every == 0:
            point = _measured(training, state, point)
        yield from _recorded(state, point)
        if last or state.step % save_every == 0:
            state.seconds = before + clock() - began
            state.save(folder, training.weights, training.optimizer)
    return state.points


def _measured(training: Training, state: Snapshot, point: Loss) -> Loss:
    held_out = training.batches.held_out
    found = {name: training.measure(sequences) for name, sequences in held_out.items()}
    return point.model_copy(update=found)


def _recorded(state: Snapshot, point: Loss) -> Generator[Event, None, None]:
    """Add a point to the curves and yield its events."""
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
    """AdamW without weight decay for biases and norm weights."""
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
        hint="lower `recovery.learning_rate`, or remove `recovery`: the pruned layers are kept",
    )
