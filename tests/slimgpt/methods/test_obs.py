"""Identities of Optimal Brain Surgeon in block form, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slimgpt.methods import obs


def random_problem(seed: int, d: int, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
    """A weight (rows, d) and a damped Hessian (d, d) of correlated inputs, some of low rank."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, dtype=torch.float64, generator=generator)
    X = mixing @ torch.randn(d, tokens, dtype=torch.float64, generator=generator)
    W = torch.randn(rows, d, dtype=torch.float64, generator=generator)
    H, _ = obs.damp(X @ X.T, 0.01)
    return W, H


def some_columns(seed: int, d: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed + 1)
    count = int(torch.randint(1, d, (), generator=generator))
    return torch.randperm(d, generator=generator)[:count]


def left_by(columns: Tensor, d: int) -> Tensor:
    """The columns that stay."""
    return torch.tensor([i for i in range(d) if i not in columns.tolist()])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, a damped Hessian, and columns to remove."""
    seed, d = draw(st.integers(0, 2**31)), draw(st.integers(2, 24))
    W, H = random_problem(seed, d, draw(st.integers(1, 12)), draw(st.integers(1, 40)))
    return W, H, some_columns(seed, d)


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-8, atol=1e-9 * float(b.abs().max() + 1))


@given(problems())
@settings(max_examples=60, deadline=None)
def test_one_at_a_time_equals_the_set_at_once_equals_least_squares(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    W, H, columns = problem
    kept = left_by(columns, W.shape[1])

    at_once, V = W.clone(), obs.invert(H)
    error = obs.remove_(at_once, V, columns)
    one_by_one, V_single = W.clone(), obs.invert(H)
    errors = [obs.remove_(one_by_one, V_single, columns[i : i + 1]) for i in range(len(columns))]
    square_root = torch.linalg.cholesky(H).T  # ‖(W − W')X‖² = ‖(W − W') R ᵀ‖² with H = RᵀR
    reference = torch.linalg.lstsq(square_root[:, kept], square_root @ W.T).solution.T

    assert close(one_by_one, at_once)
    assert close(at_once[:, kept], reference)
    assert close(obs.refit(W, H, kept), reference)
    assert close(torch.stack(errors).sum(), error)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_the_error_is_the_quadratic_form_of_the_change(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    W, H, columns = problem
    new, V = W.clone(), obs.invert(H)
    error = obs.remove_(new, V, columns)
    change = new - W
    assert close(error, torch.trace(change @ H @ change.T))
    assert close(obs.quadratic(change, H), torch.trace(change @ H @ change.T))


@given(problems())
@settings(max_examples=40, deadline=None)
def test_what_is_left_of_the_inverse_is_the_inverse_of_the_kept_hessian(
    problem: tuple[Tensor, Tensor, Tensor],
) -> None:
    W, H, columns = problem
    kept = left_by(columns, W.shape[1])
    V = obs.invert(H)
    obs.remove_(W, V, columns)
    assert close(V[kept][:, kept], torch.linalg.inv(H[kept][:, kept]))
    assert not V[columns].any()
    assert not V[:, columns].any()


def test_lemma_i_permuting_then_inverting_is_inverting_then_permuting() -> None:
    _, H = random_problem(3, 16, 1, 40)
    p = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert close(obs.invert(H[p][:, p]), obs.invert(H)[p][:, p])


def test_lemma_ii_the_factor_of_a_leading_block_is_the_leading_block_of_the_factor() -> None:
    _, H = random_problem(4, 16, 1, 40)
    factor = torch.linalg.cholesky(H)
    assert close(torch.linalg.cholesky(H[:9, :9]), factor[:9, :9])


def test_dead_inputs_leave_at_no_error() -> None:
    W, _ = random_problem(5, 8, 4, 40)
    X = torch.randn(8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    X[[2, 6]] = 0
    H, dead = obs.damp(X @ X.T, 0.01)
    assert dead.nonzero().flatten().tolist() == [2, 6]
    W[:, dead] = 0
    assert float(obs.remove_(W, obs.invert(H), torch.tensor([2, 6]))) == 0.0


def test_damping_is_a_share_of_the_mean_diagonal() -> None:
    _, H = random_problem(6, 8, 4, 40)
    damped, _ = obs.damp(H, 0.25)
    expected = H + 0.25 * H.diagonal().mean() * torch.eye(8, dtype=torch.float64)
    assert close(damped, expected)


def test_an_indefinite_matrix_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not positive-definite"):
        obs.invert(torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))
