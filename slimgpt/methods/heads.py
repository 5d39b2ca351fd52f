"""Batched greedy pruning of attention heads (paper section 4.1, Eq. 5, ALGORITHM section 3).

Heads are equal blocks of consecutive columns of `o_proj`. One leaves at a time, the one with the
least score; the others compensate and are scored again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slimgpt.methods import obs
from slimgpt.spec.prune import HeadScore

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def blocks(
    V: Tensor,  # (u·b, u·b)
    width: int,  # b, columns of a head
) -> Tensor:
    """The diagonal blocks V_hh of all heads, (u, b, b)."""
    units = V.shape[0] // width
    return V.view(units, width, units, width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def diagonal(
    W: Tensor,  # (d_out, u·b)
    V_hh: Tensor,  # (u, b, b), of the layer before its first removal
    gone: Tensor,  # (u,) bool
) -> Tensor:
    """Σ_p∈h ‖W_:p‖² / V_pp (the ablation "−GCD" of Table 5), (u,)."""
    norms = W.square().sum(0).view(V_hh.shape[:2])
    scores: Tensor = (norms / V_hh.diagonal(dim1=1, dim2=2)).sum(1)
    return scores


def grouped_cholesky(W: Tensor, V_hh: Tensor, gone: Tensor) -> Tensor:
    """Σ_p∈h ‖W_:p‖² / L_pp² with L_h L_hᵀ = V_hh, all heads in one batch (Eq. 5), (u,)."""
    L = torch.linalg.cholesky(_solvable(V_hh, gone))
    norms = W.square().sum(0).view(V_hh.shape[:2])
    scores: Tensor = (norms / L.diagonal(dim1=1, dim2=2).square()).sum(1)
    return scores


def exact(W: Tensor, V_hh: Tensor, gone: Tensor) -> Tensor:
    """tr(W_h (V_hh)⁻¹ W_hᵀ) = ‖L_h⁻¹ W_hᵀ‖²_F, the joint error of the head (as in ZipLM), (u,)."""
    L = torch.linalg.cholesky(_solvable(V_hh, gone))
    units, width, _ = V_hh.shape
    W_h = W.T.reshape(units, width, -1)  # W_hᵀ for every head
    scores: Tensor = torch.linalg.solve_triangular(L, W_h, upper=False).square().sum((1, 2))
    return scores


SCORES: dict[HeadScore, Score] = {
    "diagonal": diagonal,
    "grouped_cholesky": grouped_cholesky,
    "exact": exact,
}


def prune_(
    W: Tensor,  # (d_out, u·b), changed in place
    V: Tensor,  # (u·b, u·b), changed in place
    width: int,  # b
    *,
    groups: int,  # equal groups of consecutive heads, each loses the same number
    quota: int,  # heads that leave each group
    score: HeadScore,
) -> list[int]:
    """Remove `groups · quota` heads, one at a time.

    Returns:
        the heads in the order in which they left.

    Raises:
        torch.linalg.LinAlgError: a block of V is not positive definite.
    """
    units = V.shape[0] // width
    gone = torch.zeros(units, dtype=torch.bool, device=V.device)
    left = torch.full((groups,), quota, device=V.device)
    first = blocks(V, width).clone() if score == "diagonal" else None
    order: list[int] = []
    for _ in range(groups * quota):
        scores = SCORES[score](W, blocks(V, width) if first is None else first, gone)
        closed = gone | (left == 0).repeat_interleave(units // groups)
        head = int(scores.masked_fill(closed, torch.inf).argmin())
        obs.remove_(W, V, torch.arange(head * width, (head + 1) * width, device=V.device))
        gone[head] = True
        left[head // (units // groups)] -= 1
        order.append(head)
    return order


def _solvable(V_hh: Tensor, gone: Tensor) -> Tensor:
    """V_hh with the identity in place of heads that have left, whose blocks are zero."""
    identity = torch.eye(V_hh.shape[1], dtype=V_hh.dtype, device=V_hh.device)
    return torch.where(gone[:, None, None], identity, V_hh)
