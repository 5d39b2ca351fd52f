"""Optimal Brain Surgeon on the columns of one linear layer (paper section 3, ALGORITHM section 2).

`W` (d_out, d_in) is the weight and `X` (d_in, n_tokens) its inputs on calibration tokens;
`H = X Xᵀ`, damped, is the Hessian of ‖ΔW X‖² and `V = H⁻¹`. Removing a set of columns P and
letting the kept ones compensate costs only a Cholesky factor of the small block V_PP.

Removed columns stay in `W` and `V` as zeros: nothing is copied while columns leave.
"""

from __future__ import annotations

import torch
from torch import Tensor


def damp(
    H: Tensor,  # (d, d), symmetric positive semidefinite
    damping: float,  # λ, a share of the mean diagonal
) -> tuple[Tensor, Tensor]:
    """`H + λ·mean(diag H)·I`, with H_pp = 1 for dead inputs.

    Returns:
        the damped Hessian (d, d) and the mask of dead inputs (d,), those with H_pp = 0.
    """
    diagonal = H.diagonal()
    dead = diagonal == 0
    H = H.clone()
    H.diagonal().add_(damping * diagonal.mean())
    H.diagonal()[dead] = 1.0
    return H, dead


def invert(H: Tensor) -> Tensor:
    """V = H⁻¹ (d, d) through a Cholesky factor.

    Raises:
        torch.linalg.LinAlgError: H is not positive definite.
    """
    return torch.cholesky_inverse(torch.linalg.cholesky(H))


def remove_(
    W: Tensor,  # (d_out, d), changed in place
    V: Tensor,  # (d, d), inverse of the damped Hessian, changed in place
    columns: Tensor,  # (g,) int64, the set P
) -> Tensor:
    """Remove the columns P and compensate with the kept ones (Eq. 3 and 4 in block form).

        ΔW = − W_P (V_PP)⁻¹ V_P,:        V ← V − V_:P (V_PP)⁻¹ V_P:

    Returns:
        the error tr(W_P (V_PP)⁻¹ W_Pᵀ) = ‖ΔW X‖²_F, damping included, a scalar.

    Raises:
        torch.linalg.LinAlgError: V_PP is not positive definite.
    """
    rows = V[columns]  # (g, d)
    L = torch.linalg.cholesky(rows[:, columns])
    Y = torch.linalg.solve_triangular(L, rows, upper=False)  # L⁻¹ V_P,:
    Z = torch.linalg.solve_triangular(L, W[:, columns].T, upper=False)  # L⁻¹ W_Pᵀ, (g, d_out)
    W.addmm_(Z.T, Y, alpha=-1)
    V.addmm_(Y.T, Y, alpha=-1)
    W[:, columns] = 0
    V[columns] = 0
    V[:, columns] = 0
    error: Tensor = Z.square().sum()
    return error


def refit(
    W: Tensor,  # (d_out, d), the original weight
    H: Tensor,  # (d, d), damped
    kept: Tensor,  # (k,) int64, the set K
) -> Tensor:
    """Least squares on the kept columns: W_K ← (W H)_K (H_KK)⁻¹, shape (d_out, k).

    The exact optimum for the chosen set, free of the rounding that many downdates leave in V.

    Raises:
        torch.linalg.LinAlgError: H_KK is not positive definite.
    """
    rows = H[kept]  # (k, d)
    L = torch.linalg.cholesky(rows[:, kept])
    return torch.cholesky_solve(rows @ W.T, L).T


def quadratic(
    D: Tensor,  # (d_out, d)
    H: Tensor,  # (d, d)
) -> Tensor:
    """tr(D H Dᵀ) = ‖D X‖²_F, a scalar."""
    return ((D @ H) * D).sum()
