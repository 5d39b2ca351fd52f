"""`Problem`, `Solution`: input and output of a pruning method for one linear layer.

Shapes, as in the names of the methods: O outputs (d_out), I inputs (d_in), K columns that stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from slimgpt.methods.statistics import Inputs
from slimgpt.spec.prune import HeadScore


@dataclass(frozen=True)
class Units:
    """Which columns leave together and how many such units leave, in one round of elimination.

    Attributes:
        width: columns of a unit: a head's or KV group's width, 1 for FFN channels.
        groups: equal groups of consecutive units, each of which loses the same number.
        quota: units that leave each group.
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
        units: what leaves, in rounds; each counts the columns that the round before has left, as
            where KV groups leave first and then query heads of each group that stays.
        kind: `attention` for o_proj, `ffn` for down_proj.
        dense_variance: variance of the inputs in the dense model (I,), for methods that survey.
        correction: Σ_t r_t x_tᵀ, (O, I), of the correction r that the outputs shall have besides
            W x; None where they shall stay what they are.
    """

    weight: Tensor
    inputs: Inputs
    units: tuple[Units, ...]
    kind: Literal["attention", "ffn"]
    dense_variance: Tensor | None = None
    correction: Tensor | None = None


@dataclass(frozen=True)
class Settings:
    """The parts of a specification that methods look at."""

    head_score: HeadScore
    group_size: Literal["dynamic"] | int
    damping: float


@dataclass(frozen=True)
class Solution:
    """What a method decided.

    Attributes:
        kept: columns that stay, ascending, (K,) int64.
        weight: their new weights (O, K), float.
        damping: the λ with which factorisations succeeded; 0 where there was none.
        bias: to be added to the layer's bias (O,), where the method compensates by it.
    """

    kept: Tensor
    weight: Tensor
    damping: float = 0.0
    bias: Tensor | None = None


Prune = Callable[[Problem], Solution]
