"""`Problem`, `Solution`: input and output of a pruning method for one linear layer.

Shapes: O outputs (d_out), I inputs (d_in), K kept columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from slimgpt.methods.statistics import Inputs
from slimgpt.spec.prune import HeadScore

Kind = Literal["attention", "ffn"]


@dataclass(frozen=True)
class Units:
    """The units of one round of elimination, and how many to remove.

    Attributes:
        width: columns of a unit: a head's or KV group's width, 1 for FFN channels.
        groups: number of equal groups of consecutive units.
        quota: units to remove from each group.
    """

    width: int
    groups: int
    quota: int


@dataclass(frozen=True)
class Problem:
    """One linear layer to prune.

    Attributes:
        weight: W, (O, I), checkpoint dtype.
        inputs: Gram matrix and mean of the layer's inputs on the calibration tokens.
        units: rounds of removal; each counts the columns kept by the round before, for example KV
            groups first, then query heads of each kept group.
        kind: `attention` for o_proj, `ffn` for down_proj.
        dense_variance: variance of the dense model's inputs (I,), for methods with a dense pass.
        correction: Σ_t r_t x_tᵀ, (O, I), for target outputs W x + r; None for target outputs W x.
    """

    weight: Tensor
    inputs: Inputs
    units: tuple[Units, ...]
    kind: Kind
    dense_variance: Tensor | None = None
    correction: Tensor | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of a specification that methods use."""

    head_score: HeadScore
    group_size: Literal["dynamic"] | int
    damping: float


@dataclass(frozen=True)
class Solution:
    """The result of a method.

    Attributes:
        kept: kept columns, ascending, (K,) int64.
        weight: their new weights (O, K), float.
        damping: λ with which the factorisation succeeded; 0 without a factorisation.
        bias: addition to the layer's bias (O,), if the method compensates by it.
    """

    kept: Tensor
    weight: Tensor
    damping: float = 0.0
    bias: Tensor | None = None


Prune = Callable[[Problem], Solution]
