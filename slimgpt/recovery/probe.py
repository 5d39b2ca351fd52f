"""The learning-rate probe: a few short trainings from the same start, judged by held-out rows.

Each rate gets the same steps on the same sequences, with a schedule of its own that falls to zero;
what is left of the loss on rows that nothing learns from decides. It climbs a ladder of rates from
the middle, as long as a rung is better than the one before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence

from pydantic import BaseModel

from slimgpt.events import Event, Progress
from slimgpt.recovery.course import LESSONS, first
from slimgpt.recovery.schedule import Schedule
from slimgpt.recovery.training import Clock, Training

LADDER = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
START = {"adapters": 4, "layers": 3}
"""Rungs where the climb begins: adapters start at zero and bear more."""
STEPS = 8
HELD_OUT_TOKENS = 4096


class Tried(BaseModel):
    """What a few steps with a rate came to.

    Attributes:
        loss: of held-out rows, nats a token; None: not a finite number.
        step_seconds: of a step, without the first.
    """

    learning_rate: float
    loss: float | None
    step_seconds: float


def probe(
    fresh: Callable[[], Training],
    steps: int,
    start: int,
    rates: Sequence[float] = LADDER,
    clock: Clock = time.monotonic,
) -> Generator[Event, None, list[Tried]]:
    """Try rates; `best` chooses.

    Args:
        fresh: a training from the start.
        steps: of each rate.
        start: index of the rate that comes first.
        rates: ascending.

    Returns:
        the rates in the order in which they were tried.
    """
    tried: dict[int, Tried] = {}
    for direction in (1, -1):
        rung = start if not tried else start - 1
        while 0 <= rung < len(rates):
            what = f"trying learning rate {rates[rung]:g}"
            yield Progress(stage="recover", done=len(tried), total=len(rates), what=what)
            tried[rung] = _try(fresh(), rates[rung], steps, clock)
            previous = tried.get(rung - direction)
            if previous is not None and not _better(tried[rung], previous):
                break
            rung += direction
        if len(tried) > 2 or start == 0:  # the second rung was better: nothing lies below the first
            break
    return list(tried.values())


def best(tried: Sequence[Tried]) -> float:
    """The rate with the lowest loss."""
    return min(tried, key=_loss).learning_rate


def _better(one: Tried, other: Tried) -> bool:
    return _loss(one) < _loss(other)


def _loss(one: Tried) -> float:
    return math.inf if one.loss is None else one.loss


def _try(training: Training, rate: float, steps: int, clock: Clock) -> Tried:
    schedule = Schedule(rate, steps)
    training.step(0, schedule.at(0))  # makes what is made once
    began = clock()
    for step in range(1, steps):
        training.step(step, schedule.at(step))
    seconds = (clock() - began) / max(1, steps - 1)
    loss = training.measure(first(training.course.held_out[LESSONS], HELD_OUT_TOKENS))
    finite = loss if math.isfinite(loss) else None
    return Tried(learning_rate=rate, loss=finite, step_seconds=seconds)
