"""SlimGPT on one linear layer: greedy elimination, then refit (paper Algorithm 1, ALGORITHM 2–4).

Factorisations run in the device's format, then in float64; if they still fail the damping grows
tenfold, at most three times, and the damping that was used is part of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from slimgpt.errors import NumericalError
from slimgpt.machine import precision
from slimgpt.methods import channels, heads, obs
from slimgpt.methods.problem import Problem, Settings, Solution

ESCALATIONS = 3


def prune(problem: Problem, settings: Settings) -> Solution:
    """Remove the layer's units by OBS.

    Raises:
        NumericalError: no factorisation succeeded at any damping.
    """
    for damping, dtype in _attempts(settings.damping, problem.weight.device):
        try:
            return _solve(problem, settings, damping, dtype)
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
    H, dead = obs.damp(problem.inputs.gram.to(dtype), damping)
    original = problem.weight.to(dtype, copy=True)
    original[:, dead] = 0
    gone = _eliminate(original.clone(), obs.invert(H), problem, settings)
    kept = torch.ones(H.shape[0], dtype=torch.bool, device=H.device)
    kept[gone] = False
    columns = kept.nonzero().squeeze(1)
    weight = obs.refit(original.double(), H.double(), columns)  # H may be ill-conditioned
    if not bool(torch.isfinite(weight).all()):
        raise LinAlgError("the refitted weights are not finite")
    return Solution(columns, weight, damping)


def _eliminate(W: Tensor, V: Tensor, problem: Problem, settings: Settings) -> Tensor:
    """Columns in the order in which they leave; `W` and `V` are used up."""
    units = problem.units
    if problem.kind == "ffn":
        order = channels.prune_(W, V, units.quota, rule=settings.group_size)
        return torch.tensor(order, device=W.device)
    order = heads.prune_(
        W, V, units.width, groups=units.groups, quota=units.quota, score=settings.head_score
    )
    return columns_of(torch.tensor(order, device=W.device), units.width)


def columns_of(
    units: Tensor,  # (n,) int64
    width: int,
) -> Tensor:
    """The columns of some units, (n · width,) int64."""
    offsets = torch.arange(width, device=units.device)
    return (units[:, None] * width + offsets).flatten()
