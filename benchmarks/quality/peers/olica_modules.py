"""Modules that take the place of stock ones in a model that Olica has cut."""

from __future__ import annotations

from torch import Tensor, nn


class NarrowValues(nn.Module):
    """Values of narrow heads, filled up with zeros to the stock width."""

    def __init__(self, inner: nn.Linear, narrow: int, width: int) -> None:
        super().__init__()
        self.inner, self._narrow, self._width = inner, narrow, width

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, heads · width)."""
        values: Tensor = self.inner(hidden)
        heads = values.view(*values.shape[:-1], -1, self._narrow)
        return nn.functional.pad(heads, (0, self._width - self._narrow)).flatten(-2)


class NarrowOutputs(nn.Module):
    """The output projection of narrow heads that were filled up."""

    def __init__(self, inner: nn.Linear, narrow: int, width: int) -> None:
        super().__init__()
        self.inner, self._narrow, self._width = inner, narrow, width

    def forward(self, heads: Tensor) -> Tensor:
        """(…, heads · width) → (…, D)."""
        narrow = heads.reshape(*heads.shape[:-1], -1, self._width)[..., : self._narrow]
        found: Tensor = self.inner(narrow.flatten(-2))
        return found


class Calibrated(nn.Module):
    """A thinned FFN, and the linear part of what it lost."""

    def __init__(self, thin: nn.Module, into: nn.Linear, out: nn.Linear) -> None:
        super().__init__()
        self.thin, self.into, self.out = thin, into, out

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        found: Tensor = self.thin(hidden) + self.out(self.into(hidden))
        return found
