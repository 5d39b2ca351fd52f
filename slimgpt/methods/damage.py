"""Damage curve of one module: the cost of pruning it to each level.

The *shape* of the curve is the error of OBS elimination, ‖ΔW X‖²_F, with every input divided by the
norm of the residual stream after the module. The *scale*, from error to loss, is measured
elsewhere (`layers.damage_pass`); `scaled` combines the two.

Names end in their shape: K kept columns, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from slimgpt.methods import channels, obs
from slimgpt.methods.elimination import Elimination
from slimgpt.methods.problem import Kind, Problem, Settings, Solution, Units
from slimgpt.methods.slimgpt import attempted

Size = TypeVar("Size")
LEAST = 1e-12
"""Smaller measured losses are rounding errors."""
CACHED_ROWS = 64
"""Tokens whose logits in float32 stay in a CPU's cache."""


@dataclass(frozen=True)
class Level:
    """One pruned size of a module.

    Attributes:
        kept: kept columns, (K,) int64.
        error: Σ over outputs of gain² · ‖ΔW X‖², damping included.
        weight: of the kept columns by least squares, (O, K), where it was asked for.
    """

    kept: Tensor
    error: float
    weight: Tensor | None = None

    @property
    def solution(self) -> Solution:
        """Of a level whose weight was asked for."""
        assert self.weight is not None
        return Solution(self.kept, self.weight)


def levels(
    problem: Problem,
    gain_O: Tensor,
    settings: Settings,
    tree: Sequence[Sequence[Units]],
    refit: Collection[int] = (),
) -> list[Level]:
    """Prune a module to successively smaller levels, in one elimination with branches.

    Args:
        problem: its `units` are ignored. The channels of an FFN that leave between two levels are
            one group.
        gain_O: what each output is multiplied by on its way into the residual stream.
        refit: the levels whose weights are wanted.
        tree: rounds of each branch. The first round of a branch continues from the first round of
            the branch before (KV groups are removed); its other rounds continue from each other
            (query heads of the kept groups). A first round that removes nothing gives no level.

    Returns:
        the levels in the order of the rounds.

    Raises:
        NumericalError: the factorisation failed at every damping.
    """

    def solve(damping: float, dtype: torch.dtype) -> list[Level]:
        H_II, dead_I = obs.damp(problem.inputs.gram.to(dtype), damping)
        W_OI = problem.weight.to(dtype, copy=True)
        W_OI[:, dead_I] = 0
        weighted_OI, V_II = gain_O.to(dtype)[:, None] * W_OI, obs.invert(H_II)
        if problem.kind == "ffn":
            found = _widths(weighted_OI, V_II, [first.quota for first, *_ in tree])
        else:
            found = _branches(Elimination(weighted_OI, V_II, problem.kind, settings), tree)
        for at in refit:
            W_OK = obs.refit(W_OI.double(), H_II.double(), found[at].kept)
            found[at] = replace(found[at], weight=W_OK)
        return found

    return attempted(solve, settings, problem.weight.device)


def _branches(trunk: Elimination, tree: Sequence[Sequence[Units]]) -> list[Level]:
    found = []
    for first, *others in tree:
        if first.quota:
            trunk.remove(first)
            found.append(Level(trunk.kept, trunk.error))
        branch = trunk.copy() if others else trunk
        for units in others:
            branch.remove(units)
            found.append(Level(branch.kept, branch.error))
    return found


def _widths(W_OI: Tensor, V_II: Tensor, quotas: Sequence[int]) -> list[Level]:
    """The levels of an FFN; no level copies W or V, which are changed in place."""
    order, errors = channels.prune_(W_OI, V_II, quotas)
    stays_I = torch.ones(W_OI.shape[1], dtype=torch.bool, device=W_OI.device)
    gone_I = torch.tensor(order, dtype=torch.int64, device=W_OI.device)
    found, error = [], 0.0
    groups = gone_I.split_with_sizes(list(quotas))
    for columns_P, more in zip(groups, errors, strict=True):
        stays_I[columns_P] = False
        error += more
        found.append(Level(stays_I.nonzero().squeeze(1), error))
    return found


@dataclass
class Module(Generic[Size]):
    """Levels and measurements of one module; level 0 is the dense module.

    Attributes:
        sizes: size of the layer at each level.
        tree: rounds of elimination between levels, as in `levels`.
        levels: levels whose loss is measured or interpolated; none if the module has no smaller
            size.
        errors: error of the elimination at each level; empty in ranks that do not own the module.
        losses: level → KL divergence, nats per token.
    """

    kind: Kind
    sizes: list[Size]
    tree: list[list[Units]]
    levels: list[int]
    errors: list[float] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)

    @property
    def damages(self) -> list[float]:
        """Damage at each level: KL divergence, nats per token."""
        if not self.losses:  # the module has no smaller size
            return [0.0]
        curve = scaled(self.errors[1:], {at - 1: loss for at, loss in self.losses.items()})
        return [0.0, *curve]


class Divergence:
    """KL divergence of outputs from the dense model's on the same tokens.

    Args:
        dense_TV: its logits.
    """

    def __init__(self, dense_TV: Tensor) -> None:
        self._wanted_TV = dense_TV.softmax(-1, dtype=torch.float32)
        self._entropy = self._cross_entropy(dense_TV)

    def of(self, logits_TV: Tensor) -> float:
        """The sum over all tokens, nats."""
        return self._cross_entropy(logits_TV) - self._entropy

    def _cross_entropy(self, logits_TV: Tensor) -> float:
        blocks = (torch.split(whole_TV, CACHED_ROWS) for whole_TV in (logits_TV, self._wanted_TV))
        losses = [
            torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum")
            for logits, wanted in zip(*blocks, strict=True)
        ]
        return float(torch.stack(losses).double().sum())


def scaled(errors: Sequence[float], measured: dict[int, float]) -> list[float]:
    """Convert errors to losses, given measured losses at some levels.

    The ratio of loss to error is interpolated linearly between measured levels, both on logarithmic
    scales, and constant beyond them.

    Args:
        errors: of all levels.
        measured: level → loss, for at least one level.
    """
    known = sorted((max(errors[level], LEAST), loss) for level, loss in measured.items())
    at = [math.log(error) for error, _ in known]
    ratios = [_log_ratio(error, loss) for error, loss in known]
    logs = np.log(np.maximum(errors, LEAST))
    scales = np.exp(np.interp(logs, at, ratios))
    return [float(error * scale) for error, scale in zip(errors, scales, strict=True)]


def _interpolated(
    measured: Mapping[int, Sequence[tuple[float, float]]], layer: int, errors: Sequence[float]
) -> list[float]:
    """Losses of a module that was not measured, from those of other layers.

    The ratio of loss to error changes little from a layer to the next: it is interpolated linearly
    over depth, on a logarithmic scale.

    Args:
        measured: layer → error and loss of the same module there, level by level.
        errors: at the same levels of this one.
    """
    layers, found = sorted(measured), []
    for level, error in enumerate(errors):
        pairs = [measured[one][min(level, len(measured[one]) - 1)] for one in layers]
        ratio = np.interp(layer, layers, [_log_ratio(*pair) for pair in pairs])
        found.append(max(error, LEAST) * math.exp(ratio))
    return found


def interpolate(modules: Sequence[Module[Any]]) -> None:
    """Give the modules of one kind, by layer, the losses that were not measured."""
    known = {
        layer: [(module.errors[level], loss) for level, loss in module.losses.items()]
        for layer, module in enumerate(modules)
        if module.losses
    }
    for layer, module in enumerate(modules):
        if module.levels and not module.losses:
            errors = [module.errors[level] for level in module.levels]
            losses = _interpolated(known, layer, errors)
            module.losses = dict(zip(module.levels, losses, strict=True))


def _log_ratio(error: float, loss: float) -> float:
    return math.log(max(loss, LEAST) / max(error, LEAST))
