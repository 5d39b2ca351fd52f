"""Damage curve of one module: what it costs to prune it to each of its levels.

The *shape* is the error of OBS elimination, ‖ΔW X‖²_F, where every token's input is divided by the
length of the residual stream behind the module. What the errors are worth,
the *scale*, is measured elsewhere (`layers.damage_pass`), and `scaled` joins the two.

Names end in their shape: K columns that are left.
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

Rounds = tuple[Units, ...]
LEAST = 1e-12
"""Below it a measured loss is rounding."""


@dataclass(frozen=True)
class Level:
    """One way to cut a module.

    Attributes:
        kept: columns that are left, (K,) int64.
        error: ‖ΔW X‖²_F, damping included.
    """

    kept: Tensor
    error: float


def levels(problem: Problem, settings: Settings, tree: Sequence[Sequence[Units]]) -> list[Level]:
    """Cut a module further and further, in one elimination with side branches.

    Args:
        problem: its `units` are not looked at.
        tree: one branch each; the first round of a branch goes on from the first round of the
            branch before (KV groups leave), its other rounds only from each other (query heads of
            the groups that stay). A first round that removes nothing is left out of the levels.

    Returns:
        the levels in the order of the rounds.

    Raises:
        NumericalError: no factorisation succeeded at any damping.
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
    """The weights (O, K) of the columns that are left, by least squares on the problem's inputs.

    Raises:
        NumericalError: no factorisation succeeded at any damping.
    """

    def solve(damping: float, dtype: torch.dtype) -> Tensor:
        H_II, dead_I = obs.damp(problem.inputs.gram.double(), damping)
        W_OI = problem.weight.double()
        W_OI[:, dead_I] = 0
        return obs.refit(W_OI, H_II, kept_K)

    return attempted(solve, settings, problem.weight.device)


def scaled(errors: Sequence[float], measured: dict[int, float]) -> list[float]:
    """Errors in the unit of a loss that was measured at a few of the levels.

    Between two measured levels the ratio of loss to error is interpolated, logarithms against
    logarithms of the error; beyond them it is that of the nearest.

    Args:
        errors: of all levels.
        measured: level → loss, at one level at least.
    """
    known = sorted(
        (max(errors[level], LEAST), max(loss, LEAST)) for level, loss in measured.items()
    )
    at = [math.log(error) for error, _ in known]
    ratios = [math.log(loss / error) for error, loss in known]
    logs = np.log(np.maximum(errors, LEAST))
    scales = np.exp(np.interp(logs, at, ratios))
    return [float(error * scale) for error, scale in zip(errors, scales, strict=True)]
