"""FFN channel pruning with dynamic group size (paper section 4.2).

The g channels with the smallest scores ‖W_:p‖² / V_pp are removed together, then all are scored
again. The number of operations does not depend on g, only the number of passes over V does.

Names end in their shape: O outputs (d_out), I inputs (channels), P channels removed together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from slimgpt.methods import obs

LARGEST_GROUP = 1024
SMALLEST_GROUP = 8


def group_size(
    remaining: int,  # channels still to be removed
    rule: Literal["dynamic"] | int,
) -> int:
    """Channels to remove next: half of the remaining, as a power of two, 8 to 1024; or fixed."""
    if rule == "dynamic":
        half = 1 << max(remaining // 2, 1).bit_length() - 1
        size = min(max(half, SMALLEST_GROUP), LARGEST_GROUP)
    else:
        size = rule
    return min(size, remaining)


def group_sizes(remove: int, rule: Literal["dynamic"] | int) -> list[int]:
    """The sizes of all groups when `remove` channels leave."""
    sizes: list[int] = []
    while remove:
        sizes.append(group_size(remove, rule))
        remove -= sizes[-1]
    return sizes


def prune_(
    W_OI: Tensor,  # changed in place
    V_II: Tensor,  # changed in place
    sizes: Sequence[int],  # of the groups
) -> tuple[list[int], list[float]]:
    """Remove groups of channels one after another.

    Returns:
        the channels in the order of removal, and for each group the error that it adds to
        ‖ΔW X‖²_F, damping included.

    Raises:
        torch.linalg.LinAlgError: a block of V is not positive definite.
    """
    gone_I = torch.zeros(V_II.shape[0], dtype=torch.bool, device=V_II.device)
    order: list[Tensor] = []
    errors: list[Tensor] = []
    for g in sizes:
        scores_I = W_OI.square().sum(0) / V_II.diagonal()
        columns_P = scores_I.masked_fill(gone_I, torch.inf).argsort(stable=True)[:g]
        errors.append(obs.remove_(W_OI, V_II, columns_P))
        gone_I[columns_P] = True
        order.append(columns_P)
    if not order:
        return [], []
    return torch.cat(order).tolist(), torch.stack(errors).tolist()
