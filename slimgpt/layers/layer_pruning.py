"""`LayerPruning`: the state of one decoder layer while its heads and FFN channels are pruned.

Names end in their shape: O outputs (d_out), I inputs (d_in), K kept columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers import surgery
from slimgpt.layers.block import Block, Step
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import Tensors
from slimgpt.methods import obs
from slimgpt.methods.problem import Kind, Problem, Prune, Solution, Units
from slimgpt.methods.statistics import Inputs

Kept = list[int] | list[list[int]]


@dataclass(frozen=True)
class DenseVariances:
    """Variances of the inputs of a layer's `o_proj` and `down_proj` in the dense model, (I,) each.

    They are on the CPU.
    """

    attention: Tensor
    ffn: Tensor


@dataclass(frozen=True)
class PrunedLayer:
    """A pruned layer.

    Attributes:
        tensors: by their names within the layer, checkpoint dtype.
        heads, kv_heads, channels: kept indices, ascending; with experts, a list of channels each.
        attention_error, ffn_error: relative output error tr(ΔW H ΔWᵀ) / tr(W H Wᵀ) of `o_proj` and
            `down_proj`, with the undamped Hessian H.
        attention_damping, ffn_damping: λ of the factorisation; 0 without one.
        unseen_experts: experts to which no calibration token was routed; pruned by their weights
            alone.
    """

    tensors: Tensors
    heads: list[int]
    kv_heads: list[int]
    channels: Kept
    attention_error: float = 0.0
    ffn_error: float = 0.0
    attention_damping: float = 0.0
    ffn_damping: float = 0.0
    unseen_experts: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Outcome:
    """Output error of one or several projections.

    Attributes:
        lost: squared output error, tr(ΔW H ΔWᵀ).
        whole: squared norm of the dense output, tr(W H Wᵀ).
        damping: λ of the factorisation, the largest of several.
    """

    lost: float = 0.0
    whole: float = 0.0
    damping: float = 0.0

    @property
    def error(self) -> float:
        """Relative error; 0 for an output of zeros."""
        return self.lost / self.whole if self.whole else 0.0

    def __add__(self, other: _Outcome) -> _Outcome:
        damping = max(self.damping, other.damping)
        return _Outcome(self.lost + other.lost, self.whole + other.whole, damping)


@dataclass
class LayerPruning:
    """A layer while it is pruned.

    Attributes:
        target: size after pruning.
        prune: the method.
        dense: variances in the dense model, for methods with a dense pass.
        tensors, size: of the layer as it is now.
    """

    stack: Stack
    index: int
    target: LayerSize
    prune: Prune
    dense: DenseVariances | None
    tensors: Tensors = field(init=False)
    size: LayerSize = field(init=False)
    attention: _Outcome = field(init=False, default=_Outcome())
    ffn: _Outcome = field(init=False, default=_Outcome())

    def __post_init__(self) -> None:
        self.tensors = self.stack.read_layer(self.index)
        self.size = self.stack.architecture.sizes[self.index]
        self.kept_heads = list(range(self.size.heads))
        self.kept_kv_heads = list(range(self.size.kv_heads))
        every = list(range(self.size.channels))
        count = self.stack.architecture.experts
        self.kept_channels: Kept = [list(every) for _ in range(count)] if count else every
        self.unseen_experts: list[int] = []
        self.kept_columns: dict[
            Kind, Tensor
        ] = {}  # of o_proj and down_proj, (K,) int64, once pruned

    @property
    def prunes_heads(self) -> bool:
        """Whether the target has fewer heads than the layer now."""
        return self.target.heads < self.size.heads

    @property
    def prunes_channels(self) -> bool:
        """Whether the target has fewer channels than the layer now."""
        return self.target.channels < self.size.channels

    def weights(self, kind: Kind) -> list[Tensor]:
        """Weights (O, I) of `o_proj`, or of every `down_proj`, of the layer as it is now."""
        return surgery.output_weights(self.tensors, self.stack.architecture, kind)

    def block(self) -> Block:
        """The layer as it is now."""
        return self.stack.build(self.index, self.size, self.tensors)

    def advance(self, step: Step, batches: list[Tensor]) -> None:
        """Replace each batch by the output of `step`, a method of a `Block`."""
        self.stack.advance(self.index, step, batches)

    def prune_heads(self, inputs: Inputs, correction: Tensor | None = None) -> None:
        """Prune heads to the target size, or only refit `o_proj` if the layer has that size.

        Args:
            inputs: sums over the inputs of `o_proj`.
            correction: as in `Problem`.

        Raises:
            NumericalError: the problem cannot be solved; names the layer and the projection.
        """
        architecture, before = self.stack.architecture, self.size
        (W_OI,) = self.weights("attention")
        units = head_units(before, self.target, architecture.head_dim)
        variance_I = self.dense.attention.to(W_OI.device) if self.dense else None
        problem = Problem(W_OI, inputs, units, "attention", variance_I, correction)
        [(solution, self.attention)] = self._solve({architecture.family.output: problem})
        self.tensors, self.kept_heads, self.kept_kv_heads = surgery.cut_heads(
            self.tensors, architecture, before, solution
        )
        self.kept_columns["attention"] = solution.kept
        self.size = LayerSize(self.target.heads, self.target.kv_heads, before.channels)

    def prune_channels(self, inputs: list[Inputs], correction: Tensor | None = None) -> None:
        """Prune the channels of every FFN to the target size, or only refit `down_proj`.

        Args:
            inputs: sums over the inputs of each `down_proj`.
            correction: as in `Problem`.

        Raises:
            NumericalError: as `prune_heads`.
        """
        architecture, before = self.stack.architecture, self.size
        variance_I = self.dense.ffn.to(self.stack.device) if self.dense else None
        units = (Units(width=1, groups=1, quota=before.channels - self.target.channels),)
        self.unseen_experts = [number for number, seen in enumerate(inputs) if not seen.tokens]
        for number in self.unseen_experts:
            inputs[number].assume_alike()
        problems = [
            Problem(W_OI, seen, units, "ffn", variance_I, correction)
            for W_OI, seen in zip(self.weights("ffn"), inputs, strict=True)
        ]
        names = [own.family.down for own in architecture.ffns()]
        solved = self._solve(dict(zip(names, problems, strict=True)))
        solutions = [solution for solution, _ in solved]
        self.tensors, kept = surgery.cut_channels(self.tensors, architecture, before, solutions)
        self.kept_channels = kept if architecture.experts else kept[0]
        self.kept_columns["ffn"] = solutions[0].kept
        outcomes = [
            outcome for (_, outcome), seen in zip(solved, inputs, strict=True) if seen.tokens
        ]
        self.ffn = sum(outcomes, _Outcome())
        self.size = LayerSize(before.heads, before.kv_heads, self.target.channels)

    def result(self) -> PrunedLayer:
        """The pruned layer with its errors."""
        return PrunedLayer(
            self.tensors,
            self.kept_heads,
            self.kept_kv_heads,
            self.kept_channels,
            self.attention.error,
            self.ffn.error,
            self.attention.damping,
            self.ffn.damping,
            tuple(self.unseen_experts),
        )

    def _solve(self, problems: Mapping[str, Problem]) -> list[tuple[Solution, _Outcome]]:
        """Solutions of problems by projection; each is found by one rank, those of several at once.

        Raises:
            NumericalError: a problem cannot be solved; names the layer and the projection.
        """
        return self.stack.ranks.each(
            list(problems.items()),
            lambda item: _solve(item[1], self.prune, f"layer {self.index} {item[0]}"),
        )


def head_units(size: LayerSize, target: LayerSize, head_dim: int) -> tuple[Units, ...]:
    """Rounds of head pruning: whole KV groups first, then query heads of each kept group."""
    per_group, left = size.heads // size.kv_heads, target.heads // target.kv_heads
    rounds = []
    if target.kv_heads < size.kv_heads:
        quota = size.kv_heads - target.kv_heads
        rounds.append(Units(head_dim * per_group, groups=1, quota=quota))
    if left < per_group:
        quota = per_group - left
        rounds.append(Units(head_dim, groups=target.kv_heads, quota=quota))
    return tuple(rounds)


def _solve(problem: Problem, prune: Prune, where: str) -> tuple[Solution, _Outcome]:
    """The solution, its weight in the checkpoint's dtype, and its output error before rounding."""
    try:
        problem.inputs.check_finite()
        solution = prune(problem)
    except NumericalError as error:
        raise NumericalError(f"{where}: {error.message}", hint=error.hint) from error
    H_II = problem.inputs.gram
    W_OI = problem.weight.to(H_II.dtype)
    difference_OI = W_OI.clone()
    difference_OI[:, solution.kept] -= solution.weight.to(H_II.dtype)
    lost = float(obs.quadratic(difference_OI, H_II))
    whole = float(obs.quadratic(W_OI, H_II))
    stored = replace(solution, weight=solution.weight.to(problem.weight.dtype))
    return stored, _Outcome(lost, whole, solution.damping)
