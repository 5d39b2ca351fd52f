"""Multiple-choice knapsack: the level of each module with the least total damage at a given cost.

Names end in their shape: B costs in units, from 0 to the budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np

MOST_UNITS = 20_000
"""Largest budget in units; costs are rounded to units if their common divisor is smaller."""


def solve(
    costs: Sequence[Sequence[int]], damages: Sequence[Sequence[float]], budget: int
) -> list[int]:
    """The level of each module with the least total damage at the given cost.

    A dynamic programme over modules and costs, in O(modules · levels · budget).

    Args:
        costs: of every level of every module; each module has a level of cost 0.
        damages: of the same levels.
        budget: total cost to reach.

    Returns:
        the index of each module's level. Their total cost is the budget or the nearest cost below
        it: exactly, if the budget is at most `MOST_UNITS` times the costs' greatest common divisor;
        otherwise within half a unit per module.
    """
    if sum(map(max, costs)) <= budget:  # every module has to be pruned to its smallest level
        return [
            max(range(len(levels)), key=lambda index: (levels[index], -losses[index]))
            for levels, losses in zip(costs, damages, strict=True)
        ]
    exact = math.gcd(*chain.from_iterable(costs)) or 1
    unit = max(exact, -(-budget // MOST_UNITS))
    size = budget // unit if unit == exact else round(budget / unit)
    least_B = np.full(size + 1, np.inf)
    least_B[0] = 0.0
    chosen = []
    for levels, losses in zip(costs, damages, strict=True):
        best_B = np.full(size + 1, np.inf)
        index_B = np.zeros(size + 1, dtype=np.int32)
        for index, (cost, damage) in enumerate(zip(levels, losses, strict=True)):
            shift = round(cost / unit)
            if shift > size:
                continue
            sum_B = np.full(size + 1, np.inf)
            sum_B[shift:] = least_B[: size + 1 - shift] + damage
            better_B = sum_B < best_B
            best_B[better_B], index_B[better_B] = sum_B[better_B], index
        least_B = best_B
        chosen.append(index_B)
    left = int(np.flatnonzero(np.isfinite(least_B))[-1])
    picks = []
    for levels, index_B in zip(reversed(costs), reversed(chosen), strict=True):
        pick = int(index_B[left])
        picks.append(pick)
        left -= round(levels[pick] / unit)
    return picks[::-1]
