"""Damage curve of one module: the cost of pruning it to each level.

The *shape* of the curve is the error of OBS elimination, ‖ΔW X‖²_F, with every input divided by the
norm of the residual stream after the module. The *scale*, from error to loss, is measured
elsewhere (`layers.damage_pass`); `scaled` combines the two.

Names end in their shape: K kept columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimgpt.methods import obs
from slimgpt.methods.elimination import Elimination
from slimgpt.methods.problem import Problem, Settings, Units
from slimgpt.methods.slimgpt import attempted

LEAST = 1e-12
"""Smaller measured losses are rounding errors."""


@dataclass(frozen=True)
class Level:
    """One pruned size of a module.

    Attributes:
        kept: kept columns, (K,) int64.
        error: ‖ΔW X‖²_F, damping included.
    """

    kept: Tensor
    error: float


def levels(problem: Problem, settings: Settings, tree: Sequence[Sequence[Units]]) -> list[Level]:
    """Prune a module to successively smaller levels, in one elimination with branches.

    Args:
        problem: its `units` are ignored.
        tree: rounds of each branch. The first round of a branch continues from the first round of
            the branch before (KV groups are removed); its other rounds continue from each other
            (query heads of the kept groups). A first round that removes nothing gives no level.

    Returns:
        the levels in the order of the rounds.

    Raises:
        NumericalError: the factorisation failed at every damping.
    """

    def solve(damping: float, dtype: torch.dtype) -> list[Level]:
        H_II, dead_I = obs.damp(problem.inputs.gram.to(dtype), damping)
        W_OI = problem.weight.to(dtype, copy=True)
        W_OI[:, dead_I] = 0
        trunk = Elimination(W_OI, obs.invert(H_II), problem.kind, settings)
        found = []
        for first, *others in tree:
            if first.quota:
                trunk.remove(first)
                found.append(Level(trunk.kept, trunk.error))
            branch = trunk.copy() if others else trunk
            for units in others:
                branch.remove(units)
                found.append(Level(branch.kept, branch.error))
        return found

    return attempted(solve, settings, problem.weight.device)


def refitted(problem: Problem, settings: Settings, kept_K: Tensor) -> Tensor:
    """The weights (O, K) of the kept columns, by least squares on the problem's inputs.

    Raises:
        NumericalError: the factorisation failed at every damping.
    """

    def solve(damping: float, dtype: torch.dtype) -> Tensor:
        H_II, dead_I = obs.damp(problem.inputs.gram.double(), damping)
        W_OI = problem.weight.double()
        W_OI[:, dead_I] = 0
        return obs.refit(W_OI, H_II, kept_K)

    return attempted(solve, settings, problem.weight.device)


def scaled(errors: Sequence[float], measured: dict[int, float]) -> list[float]:
    """Convert errors to losses, given measured losses at some levels.

    The ratio of loss to error is interpolated linearly between measured levels, both on logarithmic
    scales, and constant beyond them.

    Args:
        errors: of all levels.
        measured: level → loss, for at least one level.
    """
    known = sorted(
        (max(errors[level], LEAST), max(loss, LEAST)) for level, loss in measured.items()
    )
    at = [math.log(error) for error, _ in known]
    ratios = [math.log(loss / error) for error, loss in known]
    logs = np.log(np.maximum(errors, LEAST))
    scales = np.exp(np.interp(logs, at, ratios))
    return [float(error * scale) for error, scale in zip(errors, scales, strict=True)]
