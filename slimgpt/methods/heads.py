"""Batched greedy pruning of attention heads (paper section 4.1, Eq. 5).

Heads are equal blocks of consecutive columns of `o_proj`. The head with the smallest score is
removed, the others compensate, and are scored again.

Names end in their shape: O outputs (d_out), I inputs (U · B), U heads, B columns of a head, G
groups of heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slimgpt.methods import obs
from slimgpt.spec.prune import HeadScore

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def blocks(
    V_II: Tensor,
    width: int,  # B
) -> Tensor:
    """The diagonal blocks V_hh of all heads, (U, B, B)."""
    units = V_II.shape[0] // width
    return V_II.view(units, width, units, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def diagonal(
    W_OI: Tensor,
    V_UBB: Tensor,  # of the layer before its first removal
    gone_U: Tensor,  # bool
) -> Tensor:
    """Σ_p∈h ‖W_:p‖² / V_pp (the ablation "−GCD" of Table 5), (U,)."""
    norms_UB = W_OI.square().sum(0).view(V_UBB.shape[:2])
    scores_U: Tensor = (norms_UB / V_UBB.diagonal(dim1=1, dim2=2)).sum(1)
    return scores_U


def grouped_cholesky(W_OI: Tensor, V_UBB: Tensor, gone_U: Tensor) -> Tensor:
    """Σ_p∈h ‖W_:p‖² / L_pp² with L_h L_hᵀ = V_hh, all heads in one batch (Eq. 5), (U,)."""
    L_UBB = torch.linalg.cholesky(_solvable(V_UBB, gone_U))
    norms_UB = W_OI.square().sum(0).view(V_UBB.shape[:2])
    scores_U: Tensor = (norms_UB / L_UBB.diagonal(dim1=1, dim2=2).square()).sum(1)
    return scores_U


def exact(W_OI: Tensor, V_UBB: Tensor, gone_U: Tensor) -> Tensor:
    """tr(W_h (V_hh)⁻¹ W_hᵀ) = ‖L_h⁻¹ W_hᵀ‖²_F, the joint error of the head (as in ZipLM), (U,)."""
    L_UBB = torch.linalg.cholesky(_solvable(V_UBB, gone_U))
    units, width, _ = V_UBB.shape
    W_UBO = W_OI.T.reshape(units, width, -1)  # W_hᵀ for every head
    errors_UBO = torch.linalg.solve_triangular(L_UBB, W_UBO, upper=False)
    scores_U: Tensor = errors_UBO.square().sum((1, 2))
    return scores_U


SCORES: dict[HeadScore, Score] = {
    "diagonal": diagonal,
    "grouped_cholesky": grouped_cholesky,
    "exact": exact,
}


def prune_(
    W_OI: Tensor,  # changed in place
    V_II: Tensor,  # changed in place
    width: int,  # B
    *,
    groups: int,  # equal groups of consecutive heads
    quota: int,  # heads to remove from each group
    score: HeadScore,
) -> tuple[list[int], float]:
    """Remove `groups · quota` heads, one at a time.

    Returns:
        the heads in the order of removal, and the error ‖ΔW X‖²_F, damping included.

    Raises:
        torch.linalg.LinAlgError: a block of V is not positive definite.
    """
    units = V_II.shape[0] // width
    gone_U = torch.zeros(units, dtype=torch.bool, device=V_II.device)
    left_G = torch.full((groups,), quota, device=V_II.device)
    first_UBB = blocks(V_II, width).clone() if score == "diagonal" else None
    order: list[int] = []
    error = W_OI.new_zeros(())
    for _ in range(groups * quota):
        V_UBB = blocks(V_II, width) if first_UBB is None else first_UBB
        scores_U = SCORES[score](W_OI, V_UBB, gone_U)
        closed_U = gone_U | (left_G == 0).repeat_interleave(units // groups)
        head = int(scores_U.masked_fill(closed_U, torch.inf).argmin())
        columns_B = torch.arange(head * width, (head + 1) * width, device=V_II.device)
        error += obs.remove_(W_OI, V_II, columns_B)
        gone_U[head] = True
        left_G[head // (units // groups)] -= 1
        order.append(head)
    return order, float(error)


def _solvable(V_UBB: Tensor, gone_U: Tensor) -> Tensor:
    """V_hh, with the identity for removed heads, whose blocks are zero."""
    identity_BB = torch.eye(V_UBB.shape[1], dtype=V_UBB.dtype, device=V_UBB.device)
    return torch.where(gone_U[:, None, None], identity_BB, V_UBB)
