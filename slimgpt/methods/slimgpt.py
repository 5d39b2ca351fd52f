"""SlimGPT on one linear layer: greedy elimination, then refit (paper Algorithm 1, ALGORITHM 2–4).

Factorisations run in the device's format, then in float64; if they still fail the damping grows
tenfold, at most three times, and the damping that was used is part of the answer.

Names end in their shape: O outputs (d_out), I inputs (d_in), R columns that leave, K columns that
stay, N units.
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
    H_II, dead_I = obs.damp(problem.inputs.gram.to(dtype), damping)
    W_OI = problem.weight.to(dtype, copy=True)
    W_OI[:, dead_I] = 0
    removed_R = _eliminate(W_OI.clone(), obs.invert(H_II), problem, settings)
    keep_I = torch.ones(H_II.shape[0], dtype=torch.bool, device=H_II.device)
    keep_I[removed_R] = False
    columns_K = keep_I.nonzero().squeeze(1)
    W_OK = obs.refit(W_OI.double(), H_II.double(), columns_K)  # H may be ill-conditioned
    if not bool(torch.isfinite(W_OK).all()):
        raise LinAlgError("the refitted weights are not finite")
    return Solution(columns_K, W_OK, damping)


def _eliminate(W_OI: Tensor, V_II: Tensor, problem: Problem, settings: Settings) -> Tensor:
    """Columns (R,) in the order in which they leave; `W` and `V` are used up."""
    units = problem.units
    if problem.kind == "ffn":
        order = channels.prune_(W_OI, V_II, units.quota, rule=settings.group_size)
        return torch.tensor(order, device=W_OI.device)
    order = heads.prune_(
        W_OI, V_II, units.width, groups=units.groups, quota=units.quota, score=settings.head_score
    )
    return columns_of(torch.tensor(order, device=W_OI.device), units.width)


def columns_of(
    units_N: Tensor,  # int64
    width: int,
) -> Tensor:
    """The columns of some units, (N · width,) int64."""
    offsets = torch.arange(width, device=units_N.device)
    return (units_N[:, None] * width + offsets).flatten()
