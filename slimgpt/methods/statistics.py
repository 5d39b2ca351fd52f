"""`Inputs`: Gram matrix (Hessian), mean and variance of a layer's inputs on calibration tokens.

Names end in their shape: T tokens, I inputs (d_in).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slimgpt.errors import NumericalError
from slimgpt.machine import precision
from slimgpt.machine.ranks import Ranks


@dataclass
class Inputs:
    """Running sums over the inputs of one linear layer.

    Attributes:
        gram: Σ_t x_t x_tᵀ, (I, I): the undamped Hessian H.
        total: Σ_t x_t, (I,).
        tokens: number of tokens added.
    """

    gram: Tensor
    total: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, width: int, device: torch.device) -> Inputs:
        """Empty sums for `width` inputs."""
        dtype = precision.sum_dtype(device)
        zeros_II = torch.zeros(width, width, dtype=dtype, device=device)
        return cls(zeros_II, torch.zeros(width, dtype=dtype, device=device))

    def add_(self, X: Tensor) -> None:
        """Add a batch of inputs (…, I) in the checkpoint's dtype."""
        X_TI = X.reshape(-1, X.shape[-1])
        self.gram += precision.gram(X_TI)
        self.total += X_TI.sum(0, dtype=self.total.dtype)
        self.tokens += X_TI.shape[0]

    def sum_over(self, ranks: Ranks) -> None:
        """Add what the other ranks have seen; all have the same sums then."""
        tokens = torch.tensor(self.tokens)
        ranks.sum_(self.gram, self.total, tokens)
        self.tokens = int(tokens)

    def assume_alike(self) -> None:
        """Use the identity as Gram matrix where no token was seen, so that weights alone decide."""
        self.gram = torch.eye(len(self.gram), dtype=self.gram.dtype, device=self.gram.device)

    def check_finite(self) -> None:
        """Check that all inputs were finite.

        Raises:
            NumericalError: an input was infinite or NaN.
        """
        if not bool(torch.isfinite(self.gram).all()):
            raise NumericalError(
                "the layer's inputs are not finite on the calibration tokens",
                hint="the checkpoint overflows or has NaN: try the model in bfloat16 or float32",
            )

    @property
    def mean(self) -> Tensor:
        """Mean input, (I,)."""
        return self.total / self.tokens

    @property
    def variance(self) -> Tensor:
        """Variance of every input over tokens, (I,)."""
        second_I = self.gram.diagonal().double() / self.tokens
        return (second_I - self.mean.double().square()).clamp_min(0)
