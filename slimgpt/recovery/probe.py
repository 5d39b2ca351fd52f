"""The learning-rate probe: short trainings from the same start, compared by held-out loss.

Each rate is tried for the same steps on the same sequences, with its own schedule, which decays to
zero. The search starts in the middle of a grid of rates and continues in the direction in which the
loss on held-out rows falls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence

from pydantic import BaseModel

from slimgpt.events import Event, Progress
from slimgpt.recovery.batches import HELD_OUT_ROWS, first
from slimgpt.recovery.schedule import Schedule
from slimgpt.recovery.training import Training

GRID = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
START = {"adapters": 4, "layers": 3}
"""Index of the first rate; adapters start at zero and tolerate higher rates."""
STEPS = 8
HELD_OUT_TOKENS = 4096


class Trial(BaseModel):
    """The result of training with one rate.

    Attributes:
        loss: on held-out rows, nats per token; None if not finite.
        step_seconds: mean duration of a step, without the first.
    """

    learning_rate: float
    loss: float | None
    step_seconds: float


def probe(
    fresh: Callable[[], Training],
    steps: int,
    start: int,
    rates: Sequence[float] = GRID,
) -> Generator[Event, None, list[Trial]]:
    """Try rates of a grid; `best` selects one.

    Args:
        fresh: creates a training in its initial state.
        steps: number of steps per rate.
        start: index of the first rate.
        rates: ascending.

    Returns:
        the trials in the order in which they were run.
    """
    tried: dict[int, Trial] = {}
    for direction in (1, -1):
        index = start if not tried else start - 1
        while 0 <= index < len(rates):
            what = f"trying learning rate {rates[index]:g}"
            yield Progress(stage="recover", done=len(tried), total=len(rates), what=what)
            tried[index] = _try(fresh(), rates[index], steps)
            previous = tried.get(index - direction)
            if previous is not None and not _better(tried[index], previous):
                break
            index += direction
        if len(tried) > 2 or start == 0:  # a higher rate was better: skip the lower ones
            break
    return list(tried.values())


def best(tried: Sequence[Trial]) -> float:
    """The rate with the lowest held-out loss."""
    return min(tried, key=_loss).learning_rate


def _better(one: Trial, other: Trial) -> bool:
    return _loss(one) < _loss(other)


def _loss(one: Trial) -> float:
    return math.inf if one.loss is None else one.loss


def _try(training: Training, rate: float, steps: int) -> Trial:
    schedule = Schedule(rate, steps)
    training.step(0, schedule.at(0))  # includes one-time costs
    began = time.monotonic()
    for step in range(1, steps):
        training.step(step, schedule.at(step))
    seconds = (time.monotonic() - began) / max(1, steps - 1)
    loss = training.measure(first(training.batches.held_out[HELD_OUT_ROWS], HELD_OUT_TOKENS))
    finite = loss if math.isfinite(loss) else None
    return Trial(learning_rate=rate, loss=finite, step_seconds=seconds)
