"""Optimal Brain Surgeon on the columns of one linear layer (paper section 3).

`W` is the weight and `X` its inputs on calibration tokens; `H = X Xᵀ`, damped, is the Hessian of
‖ΔW X‖² and `V = H⁻¹`. Removing columns P, with compensation by the kept columns, needs only a
Cholesky factor of the small block V_PP.

Removed columns stay in `W` and `V` as zeros, so that removal copies nothing.

Names end in their shape: O outputs (d_out), I inputs (d_in), P columns removed together, K kept
columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def damp(
    H_II: Tensor,  # symmetric positive semidefinite
    damping: float,  # λ, a share of the mean diagonal
) -> tuple[Tensor, Tensor]:
    """`H + λ·mean(diag H)·I`, with H_pp = 1 for dead inputs.

    Returns:
        the damped Hessian (I, I) and the mask of dead inputs (I,), those with H_pp = 0.
    """
    diagonal_I = H_II.diagonal()
    dead_I = diagonal_I == 0
    H_II = H_II.clone()
    H_II.diagonal().add_(damping * diagonal_I.mean())
    H_II.diagonal()[dead_I] = 1.0
    return H_II, dead_I


def invert(H_II: Tensor) -> Tensor:
    """V = H⁻¹ (I, I) through a Cholesky factor.

    Raises:
        torch.linalg.LinAlgError: H is not positive definite.
    """
    return torch.cholesky_inverse(torch.linalg.cholesky(H_II))


def remove_(
    W_OI: Tensor,  # changed in place
    V_II: Tensor,  # inverse of the damped Hessian, changed in place
    columns_P: Tensor,  # int64
) -> Tensor:
    """Remove the columns P, compensated by the kept columns (Eq. 3 and 4 in block form).

        ΔW = − W_P (V_PP)⁻¹ V_P,:        V ← V − V_:P (V_PP)⁻¹ V_P:

    Returns:
        the error tr(W_P (V_PP)⁻¹ W_Pᵀ) = ‖ΔW X‖²_F, damping included, a scalar.

    Raises:
        torch.linalg.LinAlgError: V_PP is not positive definite.
    """
    rows_PI = V_II[columns_P]
    L_PP = torch.linalg.cholesky(rows_PI[:, columns_P])
    Y_PI = torch.linalg.solve_triangular(L_PP, rows_PI, upper=False)  # L⁻¹ V_P,:
    Z_PO = torch.linalg.solve_triangular(L_PP, W_OI[:, columns_P].T, upper=False)  # L⁻¹ W_Pᵀ
    W_OI.addmm_(Z_PO.T, Y_PI, alpha=-1)
    V_II.addmm_(Y_PI.T, Y_PI, alpha=-1)
    W_OI[:, columns_P] = 0
    V_II[columns_P] = 0
    V_II[:, columns_P] = 0
    error: Tensor = Z_PO.square().sum()
    return error


def refit(
    W_OI: Tensor,  # the original weight
    H_II: Tensor,  # damped
    kept_K: Tensor,  # int64
) -> Tensor:
    """Least squares on the kept columns: W_K ← (W H)_K (H_KK)⁻¹, (O, K).

    The exact optimum for the kept set, without the rounding errors that downdates accumulate in V.

    Raises:
        torch.linalg.LinAlgError: H_KK is not positive definite.
    """
    rows_KI = H_II[kept_K]
    L_KK = torch.linalg.cholesky(rows_KI[:, kept_K])
    return torch.cholesky_solve(rows_KI @ W_OI.T, L_KK).T


def quadratic(D_OI: Tensor, H_II: Tensor) -> Tensor:
    """tr(D H Dᵀ) = ‖D X‖²_F, a scalar."""
    return ((D_OI @ H_II) * D_OI).sum()
