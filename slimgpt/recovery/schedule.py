"""`Schedule`: learning rate of every step: linear warm-up, then cosine decay to zero.

If the time limit turns out to be too short, the remaining decay is compressed into the steps that
fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """Number of steps and learning rates.

    Attributes:
        rate: peak learning rate.
        planned: total number of steps, as decided before the first.
        warmup: number of warm-up steps, included in `planned`.
        cuts: (step, steps): at `step` the total was reduced to `steps`.
    """

    rate: float
    planned: int
    warmup: int = 0
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def steps(self) -> int:
        """The total number of steps, after all reductions."""
        return self.cuts[-1][1] if self.cuts else self.planned

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / (self.warmup + 1)
        return self.rate * (1 + math.cos(math.pi * self._progress(step))) / 2

    def cut(self, step: int, steps: int) -> Schedule:
        """The schedule with its total reduced to `steps` at `step`."""
        return replace(self, cuts=(*self.cuts, (step, steps)))

    def _progress(self, step: int) -> float:
        """Progress of the cosine decay at a step, 0 to 1."""
        share, since, end = 0.0, self.warmup, self.planned
        for at, steps in self.cuts:
            if at >= step:
                break
            begin = max(at, self.warmup)
            share += (1 - share) * (begin - since) / max(1, end - since)
            since, end = begin, steps
        return share + (1 - share) * (step - since) / max(1, end - since)
