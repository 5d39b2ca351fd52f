"""Head scores against their definitions, and the greedy order against brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from slimgpt.methods import heads, obs
from slimgpt.spec.prune import HeadScore
from tests.slimgpt.methods.test_obs import random_problem

UNITS, WIDTH = 6, 4


@pytest.fixture(params=range(5))
def problem(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    return random_problem(request.param, UNITS * WIDTH, 10, 200)


def nothing_gone() -> Tensor:
    return torch.zeros(UNITS, dtype=torch.bool)


def block(head: int) -> slice:
    return slice(head * WIDTH, (head + 1) * WIDTH)


def test_diagonal_score(problem: tuple[Tensor, Tensor]) -> None:
    W, H = problem
    V = torch.linalg.inv(H)
    expected = [
        sum(float(W[:, p].square().sum() / V[p, p]) for p in range(UNITS * WIDTH)[block(h)])
        for h in range(UNITS)
    ]
    scores = heads.diagonal(W, heads.blocks(V, WIDTH), nothing_gone())
    assert scores.tolist() == pytest.approx(expected)


def test_grouped_cholesky_score_is_the_error_of_removing_columns_in_turn_without_updating_weights(
    problem: tuple[Tensor, Tensor],
) -> None:
    """L_pp² is V_pp after the head's earlier columns have left: lemma (ii) and Eq. 5."""
    W, H = problem
    expected = []
    for head in range(UNITS):
        V, total = torch.linalg.inv(H), 0.0
        for p in range(UNITS * WIDTH)[block(head)]:
            total += float(W[:, p].square().sum() / V[p, p])
            V = V - torch.outer(V[:, p], V[p]) / V[p, p]
        expected.append(total)
    scores = heads.grouped_cholesky(W, heads.blocks(torch.linalg.inv(H), WIDTH), nothing_gone())
    assert scores.tolist() == pytest.approx(expected)


def test_exact_score_is_the_error_that_removal_returns(problem: tuple[Tensor, Tensor]) -> None:
    W, H = problem
    V = obs.invert(H)
    expected = [
        float(obs.remove_(W.clone(), V.clone(), torch.arange(h * WIDTH, (h + 1) * WIDTH)))
        for h in range(UNITS)
    ]
    scores = heads.exact(W, heads.blocks(V, WIDTH), nothing_gone())
    assert scores.tolist() == pytest.approx(expected)


def greedy_reference(W: Tensor, H: Tensor, allowed: list[list[int]]) -> list[int]:
    """Exact greedy by refitting from scratch: always the head whose loss leaves least error."""
    order: list[int] = []
    for step in range(len(allowed)):
        errors = {}
        for head in allowed[step]:
            if head in order:
                continue
            kept = torch.cat(
                [
                    torch.arange(UNITS * WIDTH)[block(h)]
                    for h in range(UNITS)
                    if h not in [*order, head]
                ]
            )
            change = -W.clone()
            change[:, kept] += obs.refit(W, H, kept)
            errors[head] = float(obs.quadratic(change, H))
        order.append(min(errors, key=errors.__getitem__))
    return order


def test_exact_greedy_equals_brute_force(problem: tuple[Tensor, Tensor]) -> None:
    W, H = problem
    order, _ = heads.prune_(W.clone(), obs.invert(H), WIDTH, groups=1, quota=4, score="exact")
    assert order == greedy_reference(W, H, [list(range(UNITS))] * 4)


@pytest.mark.parametrize("score", ["diagonal", "grouped_cholesky", "exact"])
def test_every_group_loses_its_quota(problem: tuple[Tensor, Tensor], score: HeadScore) -> None:
    W, H = problem
    order, _ = heads.prune_(W.clone(), obs.invert(H), WIDTH, groups=3, quota=1, score=score)
    assert sorted(head // 2 for head in order) == [0, 1, 2]


@pytest.mark.parametrize("score", ["diagonal", "grouped_cholesky", "exact"])
def test_removed_heads_are_zero_and_never_leave_twice(
    problem: tuple[Tensor, Tensor], score: HeadScore
) -> None:
    W, H = problem
    W = W.clone()
    order, _ = heads.prune_(W, obs.invert(H), WIDTH, groups=1, quota=UNITS - 1, score=score)
    assert len(set(order)) == UNITS - 1
    for head in order:
        assert not W[:, block(head)].any()


def test_the_diagonal_score_keeps_the_first_inverse() -> None:
    """Two heads have equal inputs: one leaves, the first inverse still finds the other cheap."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(WIDTH, 400, dtype=torch.float64, generator=generator)
    other = torch.randn(WIDTH, 400, dtype=torch.float64, generator=generator)
    X = torch.cat(
        [
            shared,
            shared + 1e-3 * torch.randn(shared.shape, dtype=torch.float64, generator=generator),
            0.3 * other,
        ]
    )
    W = torch.randn(8, 3 * WIDTH, dtype=torch.float64, generator=generator)
    H, _ = obs.damp(X @ X.T, 1e-6)
    by_diagonal, _ = heads.prune_(
        W.clone(), obs.invert(H), WIDTH, groups=1, quota=2, score="diagonal"
    )
    by_exact, _ = heads.prune_(W.clone(), obs.invert(H), WIDTH, groups=1, quota=2, score="exact")
    assert sorted(by_diagonal) == [0, 1]
    assert 2 in by_exact
