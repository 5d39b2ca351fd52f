"""Baseline methods in the same pipeline: magnitude, Wanda-sp, FLAP.

None updates the kept weights; they differ in the score of a column:

- magnitude: ‖W_:p‖²
- Wanda-sp: Σ_i |W_ip| · ‖X_p‖₂ (Wanda, Sun et al. 2023, in the structured form of FLAP's paper)
- FLAP: var(X_p) · ‖W_:p‖² on the dense model's inputs; the mean output of removed columns is added
  to the bias, if the format has one (An et al. 2023, Eq. 3–6)

The score of a head is the sum over its columns.

Names end in their shape: O outputs (d_out), I inputs (d_in), K kept columns, G groups, U units of a
group, S kept units of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.errors import NumericalError
from slimgpt.methods.elimination import columns_of
from slimgpt.methods.problem import Problem, Settings, Solution, Units


def magnitude(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns with the largest norms."""
    return _keep_best(problem, problem.weight.float().square().sum(0))


def wanda_sp(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns with the largest weights times input norms."""
    norms_I = problem.inputs.gram.diagonal().sqrt()
    return _keep_best(problem, problem.weight.float().abs().sum(0) * norms_I)


def flap(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns with the largest fluctuation; the others' mean output goes to the bias."""
    assert problem.dense_variance is not None
    solution = _keep_best(problem, fluctuation(problem.weight, problem.dense_variance))
    gone_I = torch.ones(problem.weight.shape[1], dtype=torch.bool, device=problem.weight.device)
    gone_I[solution.kept] = False
    mean_I = problem.inputs.mean
    W_OI = problem.weight.to(mean_I.dtype)
    bias_O = W_OI[:, gone_I] @ mean_I[gone_I]
    return Solution(solution.kept, solution.weight, bias=bias_O)


def fluctuation(W_OI: Tensor, variance_I: Tensor) -> Tensor:
    """FLAP's score of every column, var(X_p) · ‖W_:p‖², (I,)."""
    return W_OI.float().square().sum(0) * variance_I


def _keep_best(problem: Problem, scores_I: Tensor) -> Solution:
    kept_K = torch.arange(len(scores_I), device=scores_I.device)
    for units in problem.units:
        kept_K = kept_K[columns_of(best_units(scores_I[kept_K], units), units.width)]
    return Solution(kept_K, problem.weight[:, kept_K])


def best_units(
    scores_I: Tensor,  # of columns
    units: Units,
) -> Tensor:
    """The kept units, ascending: in each group all but the `quota` with the smallest scores.

    Raises:
        NumericalError: a score is not finite.
    """
    if not bool(torch.isfinite(scores_I).all()):
        raise NumericalError(
            "the weights' scores are not finite",
            hint="the checkpoint contains NaN or infinity: download the model again",
        )
    scores_GU = scores_I.view(-1, units.width).sum(1).view(units.groups, -1)
    kept_GS = scores_GU.argsort(dim=1, stable=True)[:, units.quota :].sort(dim=1).values
    starts_G = torch.arange(units.groups, device=scores_I.device) * scores_GU.shape[1]
    return (kept_GS + starts_G[:, None]).flatten()
