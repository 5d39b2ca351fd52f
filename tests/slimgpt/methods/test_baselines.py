"""The baselines against their papers' definitions, written as loops over tokens."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from slimgpt.methods import baselines
from slimgpt.methods.problem import Problem, Settings, Solution, Units
from slimgpt.methods.statistics import Inputs

ROWS, UNITS, WIDTH, TOKENS = 5, 6, 3, 90
SETTINGS = Settings(head_score="exact", group_size="dynamic", damping=0.01)


@pytest.fixture(params=range(4))
def data(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """W (rows, d) and X (n_tokens, d), each input with a mean and a scale of its own."""
    generator = torch.Generator().manual_seed(request.param)
    d = UNITS * WIDTH
    scale, mean = torch.rand(d, generator=generator) * 3, torch.randn(d, generator=generator) * 2
    X = torch.randn(TOKENS, d, generator=generator) * scale + mean
    return torch.randn(ROWS, d, generator=generator), X


def problem(W: Tensor, X: Tensor, units: tuple[Units, ...]) -> Problem:
    inputs = Inputs.empty(X.shape[1], torch.device("cpu"))
    for batch in (X[:40], X[40:]):
        inputs.add_(batch)
    return Problem(W, inputs, units, "attention", inputs.variance)


def column_magnitude(W: Tensor, X: Tensor, p: int) -> float:
    return sum(float(w) * float(w) for w in W[:, p])


def column_wanda(W: Tensor, X: Tensor, p: int) -> float:
    norm = math.sqrt(sum(float(x) * float(x) for x in X[:, p]))
    return sum(abs(float(w)) * norm for w in W[:, p])


def column_flap(W: Tensor, X: Tensor, p: int) -> float:
    mean = sum(map(float, X[:, p])) / len(X)
    variance = sum((float(x) - mean) ** 2 for x in X[:, p]) / len(X)
    return float(variance * column_magnitude(W, X, p))


METHODS: list[tuple[Callable[[Problem, Settings], Solution], Callable[..., float]]] = [
    (baselines.magnitude, column_magnitude),
    (baselines.wanda_sp, column_wanda),
    (baselines.flap, column_flap),
]


@pytest.mark.parametrize(("method", "score"), METHODS)
@pytest.mark.parametrize(("groups", "quota"), [(1, 4), (3, 1), (2, 2)])
def test_the_units_of_least_score_leave_every_group(
    method: Callable[[Problem, Settings], Solution],
    score: Callable[..., float],
    groups: int,
    quota: int,
    data: tuple[Tensor, Tensor],
) -> None:
    W, X = data
    solution = method(problem(W, X, (Units(WIDTH, groups, quota),)), SETTINGS)
    of_units = [sum(score(W, X, u * WIDTH + i) for i in range(WIDTH)) for u in range(UNITS)]
    size = UNITS // groups
    kept = [
        unit
        for group in range(groups)
        for unit in sorted(
            sorted(range(group * size, (group + 1) * size), key=of_units.__getitem__)[quota:]
        )
    ]
    assert solution.kept.tolist() == [unit * WIDTH + i for unit in kept for i in range(WIDTH)]
    assert torch.equal(solution.weight, W[:, solution.kept])


def test_flaps_bias_keeps_the_mean_output(data: tuple[Tensor, Tensor]) -> None:
    W, X = data
    solution = baselines.flap(problem(W, X, (Units(WIDTH, 1, 3),)), SETTINGS)
    assert solution.bias is not None
    pruned = X[:, solution.kept].double() @ solution.weight.double().T + solution.bias
    dense = X.double() @ W.double().T
    assert torch.allclose(pruned.mean(0), dense.mean(0), atol=1e-5)
