"""One linear layer from inputs to solution: dead inputs, damping that has to grow, the optimum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slimgpt.errors import NumericalError
from slimgpt.methods import slimgpt
from slimgpt.methods.problem import Problem, Settings, Units
from slimgpt.methods.statistics import Inputs

D, ROWS = 32, 6


def inputs_of(X: Tensor) -> Inputs:
    """X (n_tokens, d), seen in two batches."""
    inputs = Inputs.empty(X.shape[1], torch.device("cpu"))
    for batch in X.chunk(2):
        inputs.add_(batch)
    return inputs


def random_inputs(tokens: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, D, generator=generator)


def ffn(X: Tensor, quota: int) -> Problem:
    weight = torch.randn(ROWS, D, generator=torch.Generator().manual_seed(9))
    return Problem(weight, inputs_of(X), (Units(width=1, groups=1, quota=quota),), "ffn")


def settings(damping: float) -> Settings:
    return Settings(head_score="exact", group_size="dynamic", damping=damping)


def test_the_weights_are_the_ridge_regression_on_the_kept_columns() -> None:
    X = random_inputs(300)
    problem = ffn(X, quota=20)
    solution = slimgpt.prune(problem, settings(0.01))
    # Least squares with λ·mean(diag H) as extra rows: the same problem in its plainest words.
    ridge = (0.01 * X.double().square().sum(0).mean()).sqrt() * torch.eye(D, dtype=torch.float64)
    A = torch.cat([X.double(), ridge])
    W = problem.weight.double()
    expected = torch.linalg.lstsq(A[:, solution.kept], A @ W.T).solution.T
    assert solution.damping == 0.01
    assert len(solution.kept) == D - 20
    assert torch.allclose(solution.weight, expected, rtol=1e-4, atol=1e-5)


def test_dead_inputs_leave_first_and_weigh_nothing_where_they_stay() -> None:
    X = random_inputs(300)
    dead = [3, 4, 17]
    X[:, dead] = 0
    without = slimgpt.prune(ffn(X, quota=3), settings(0.01))
    assert set(range(D)) - set(without.kept.tolist()) == set(dead)
    one_stays = slimgpt.prune(ffn(X, quota=2), settings(0.01))
    (place,) = [i for i, column in enumerate(one_stays.kept.tolist()) if column in dead]
    assert not one_stays.weight[:, place].any()


def nearly_definite(eigenvalue: float) -> Problem:
    """H with eigenvalues 1 but for one, as rounding makes them of inputs that depend on others."""
    generator = torch.Generator().manual_seed(1)
    Q, _ = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64, generator=generator))
    spectrum = torch.ones(D, dtype=torch.float64)
    spectrum[0] = eigenvalue
    inputs = Inputs(Q * spectrum @ Q.T, torch.zeros(D, dtype=torch.float64), tokens=1)
    weight = torch.randn(ROWS, D, generator=generator)
    return Problem(weight, inputs, (Units(width=1, groups=1, quota=8),), "ffn")


@pytest.mark.parametrize(("eigenvalue", "needed"), [(1e-4, 1e-8), (-3e-8, 1e-7), (-3e-6, 1e-5)])
def test_damping_grows_until_the_factorisation_succeeds_and_is_reported(
    eigenvalue: float, needed: float
) -> None:
    solution = slimgpt.prune(nearly_definite(eigenvalue), settings(1e-8))
    assert solution.damping == pytest.approx(needed)
    assert torch.isfinite(solution.weight).all()


def test_a_factorisation_that_never_succeeds_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NumericalError, match=r"damping 1e-05; use more calibration tokens"):
        slimgpt.prune(nearly_definite(-3e-5), settings(1e-8))
