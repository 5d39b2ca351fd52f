"""`Elimination`: removes units from one linear layer in rounds, and sums the errors.

Names end in their shape: O outputs (d_out), I inputs (d_in), K kept columns, R removed columns,
N units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.methods import channels, heads
from slimgpt.methods.problem import Kind, Settings, Units


class Elimination:
    """A weight and the inverse of its damped Hessian; both are changed in place.

    Attributes:
        kept: the kept columns, ascending, (K,) int64.
        error: sum of the rounds' errors, ‖ΔW X‖²_F with damping, float.

    Args:
        kind: `attention` removes heads one at a time, `ffn` channels in groups.
    """

    def __init__(self, W_OI: Tensor, V_II: Tensor, kind: Kind, settings: Settings) -> None:
        self._W, self._V = W_OI, V_II
        self._kind, self._settings = kind, settings
        self._stays: Tensor | None = None
        self.kept = torch.arange(W_OI.shape[1], device=W_OI.device)
        self.error = 0.0

    def remove(self, units: Units) -> None:
        """Remove `quota` units of each group; groups are counted among the kept columns.

        Raises:
            torch.linalg.LinAlgError: a block of V is not positive definite.
        """
        self._drop_removed()
        removed_R, error = self._removed(units)
        stays_K = torch.ones(len(self.kept), dtype=torch.bool, device=self.kept.device)
        stays_K[removed_R] = False
        self._stays = stays_K.nonzero().squeeze(1)
        self.kept = self.kept[self._stays]
        self.error += error

    def copy(self) -> Elimination:
        """An independent copy that continues from the present state."""
        self._drop_removed()
        other = Elimination(self._W.clone(), self._V.clone(), self._kind, self._settings)
        other.kept, other.error = self.kept, self.error
        return other

    def _drop_removed(self) -> None:
        """Drop the columns removed in the last round, which are zeros."""
        if self._stays is not None:
            self._W = self._W[:, self._stays]
            self._V = self._V[self._stays][:, self._stays]
            self._stays = None

    def _removed(self, units: Units) -> tuple[Tensor, float]:
        """Columns (R,) in the order of removal, and their total error."""
        settings = self._settings
        if self._kind == "ffn":
            sizes = channels.group_sizes(units.quota, settings.group_size)
            order, errors = channels.prune_(self._W, self._V, sizes)
            error = sum(errors)
        else:
            order, error = heads.prune_(
                self._W,
                self._V,
                units.width,
                groups=units.groups,
                quota=units.quota,
                score=settings.head_score,
            )
        units_N = torch.tensor(order, dtype=torch.long, device=self.kept.device)
        return columns_of(units_N, units.width), error


def columns_of(
    units_N: Tensor,  # int64
    width: int,
) -> Tensor:
    """The columns of units, (N · width,) int64."""
    offsets = torch.arange(width, device=units_N.device)
    return (units_N[:, None] * width + offsets).flatten()
