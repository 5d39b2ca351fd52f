"""`Schedule`: the learning rate of every step, and how many steps there are.

It warms up in a line and falls as a cosine to zero at the last step. Where time turns out to be
shorter than was thought, the rest of the fall is fitted into the steps that are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates of a training.

    Attributes:
        rate: the highest.
        planned: steps, as decided before the first.
        warmup: steps, within `planned`.
        cuts: (step, steps): from `step` on there were to be only `steps` in all.
    """

    rate: float
    planned: int
    warmup: int = 0
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def steps(self) -> int:
        """How many there are, as known by now."""
        return self.cuts[-1][1] if self.cuts else self.planned

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / (self.warmup + 1)
        return self.rate * (1 + math.cos(math.pi * self._fallen(step))) / 2

    def cut(self, step: int, steps: int) -> Schedule:
        """The schedule with only `steps` in all, as of `step`."""
        return replace(self, cuts=(*self.cuts, (step, steps)))

    def _fallen(self, step: int) -> float:
        """The share of the cosine's way that lies behind a step."""
        share, since, end = 0.0, self.warmup, self.planned
        for at, steps in self.cuts:
            if at >= step:
                break
            begin = max(at, self.warmup)
            share += (1 - share) * (begin - since) / max(1, end - since)
            since, end = begin, steps
        return share + (1 - share) * (step - since) / max(1, end - since)
