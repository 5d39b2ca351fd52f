"""SlimGPT on one linear layer: greedy elimination, then refit (paper Algorithm 1).

Factorisations run in the device's precision, then in float64; if they still fail, the damping is
multiplied by ten, at most three times. The damping used is part of the result.

Names end in their shape: O outputs (d_out), I inputs (d_in), K kept columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from slimgpt.errors import NumericalError
from slimgpt.machine import precision
from slimgpt.methods import obs
from slimgpt.methods.elimination import Elimination
from slimgpt.methods.problem import Problem, Settings, Solution

ESCALATIONS = 3
T = TypeVar("T")


def prune(problem: Problem, settings: Settings) -> Solution:
    """Remove the layer's units by OBS.

    Raises:
        NumericalError: the factorisation failed at every damping.
    """
    return attempted(
        lambda damping, dtype: _solve(problem, settings, damping, dtype),
        settings,
        problem.weight.device,
    )


def attempted(
    solve: Callable[[float, torch.dtype], T], settings: Settings, device: torch.device
) -> T:
    """The result of `solve` at the smallest damping, and lowest precision, at which it succeeds.

    Raises:
        NumericalError: it fails at every damping.
    """
    for damping, dtype in _attempts(settings.damping, device):
        try:
            return solve(damping, dtype)
        except LinAlgError:
            continue
    highest = settings.damping * 10**ESCALATIONS
    raise NumericalError(
        f"the Hessian is not positive definite at damping {highest:g}",
        hint="use more calibration tokens or a larger damping",
    )


def _attempts(damping: float, device: torch.device) -> Iterator[tuple[float, torch.dtype]]:
    for step in range(ESCALATIONS + 1):
        for dtype in precision.factor_dtypes(device):
            yield damping * 10**step, dtype


def _solve(problem: Problem, settings: Settings, damping: float, dtype: torch.dtype) -> Solution:
    H_II, dead_I = obs.damp(problem.inputs.gram.to(dtype), damping)
    V_II = obs.invert(H_II)
    W_OI = problem.weight.to(dtype, copy=True)
    if problem.correction is not None:  # the weights for target outputs W x + r
        W_OI += problem.correction.to(dtype) @ V_II
    W_OI[:, dead_I] = 0
    elimination = Elimination(W_OI.clone(), V_II, problem.kind, settings)
    for units in problem.units:
        elimination.remove(units)
    columns_K = elimination.kept
    W_OK = obs.refit(W_OI.double(), H_II.double(), columns_K)  # H may be ill-conditioned
    if not bool(torch.isfinite(W_OK).all()):
        raise LinAlgError("the refitted weights are not finite")
    return Solution(columns_K, W_OK, damping)
