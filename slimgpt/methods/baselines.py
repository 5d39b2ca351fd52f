"""The methods that SlimGPT is compared with, on the same streaming pipeline.

None updates the kept weights; they differ in the score of a column:

- magnitude: ‖W_:p‖²
- Wanda-sp: Σ_i |W_ip| · ‖X_p‖₂ (Wanda, Sun et al. 2023, in the structured form of FLAP's paper)
- FLAP: var(X_p) · ‖W_:p‖² on the dense model's inputs; removed columns leave their mean output
  behind in the bias where the format has one (An et al. 2023, Eq. 3–6)

The score of a head is the sum over its columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.errors import NumericalError
from slimgpt.methods.problem import Problem, Settings, Solution, Units
from slimgpt.methods.slimgpt import columns_of


def magnitude(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns of largest norm."""
    return _keep_best(problem, problem.weight.float().square().sum(0))


def wanda_sp(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns whose weights times input norms are largest."""
    norms = problem.inputs.gram.diagonal().sqrt()
    return _keep_best(problem, problem.weight.float().abs().sum(0) * norms)


def flap(problem: Problem, settings: Settings) -> Solution:
    """Keep the columns whose outputs fluctuate most; the others leave their mean in the bias."""
    assert problem.dense_variance is not None
    solution = _keep_best(problem, fluctuation(problem.weight, problem.dense_variance))
    gone = torch.ones(problem.weight.shape[1], dtype=torch.bool, device=problem.weight.device)
    gone[solution.kept] = False
    W = problem.weight.to(problem.inputs.mean.dtype)
    bias = W[:, gone] @ problem.inputs.mean[gone]
    return Solution(solution.kept, solution.weight, bias=bias)


def fluctuation(
    weight: Tensor,  # (d_out, d_in)
    variance: Tensor,  # (d_in,)
) -> Tensor:
    """FLAP's score of every column, var(X_p) · ‖W_:p‖², (d_in,)."""
    return weight.float().square().sum(0) * variance


def _keep_best(problem: Problem, scores: Tensor) -> Solution:
    kept = columns_of(best_units(scores, problem.units), problem.units.width)
    return Solution(kept, problem.weight[:, kept])


def best_units(
    scores: Tensor,  # (d_in,), of columns
    units: Units,
) -> Tensor:
    """The units that stay, ascending: in each group all but the `quota` of least score.

    Raises:
        NumericalError: a score is no number, and compares with none.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NumericalError(
            "the weights' scores are not finite",
            hint="the checkpoint holds NaN or infinity: download the model again",
        )
    of_units = scores.view(-1, units.width).sum(1).view(units.groups, -1)  # (groups, units a group)
    size = of_units.shape[1]
    kept = of_units.argsort(dim=1, stable=True)[:, units.quota :].sort(dim=1).values
    starts = torch.arange(units.groups, device=scores.device)[:, None] * size
    return (kept + starts).flatten()
