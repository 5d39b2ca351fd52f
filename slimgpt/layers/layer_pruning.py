"""`LayerPruning`: one decoder layer while heads and channels leave it.

Names end in their shape: B batch, S sequence, D d_model, T tokens, O outputs (d_out), I inputs
(d_in), K kept columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers.block import Block, Call, HalfPass, Step
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import Tensors, cut_channels, cut_heads, matrix
from slimgpt.methods import obs
from slimgpt.methods.problem import Problem, Prune, Solution, Units
from slimgpt.methods.statistics import Inputs

Kept = list[int] | list[list[int]]
Kind = Literal["attention", "ffn"]

CACHED_INPUTS = 2 << 30
"""Bytes that the inputs of a projection on all calibration tokens may take, on a CPU, to be kept
until the layer is advanced; others are computed again, as on a GPU, where it takes less time than
the way to host memory and back.
"""


@dataclass(frozen=True)
class DenseVariances:
    """Variance of the inputs of one layer's `o_proj` and `down_proj` in the dense model; on the
    CPU.
    """

    attention: Tensor
    ffn: Tensor


@dataclass(frozen=True)
class PrunedLayer:
    """A finished layer.

    Attributes:
        tensors: by their names within the layer, checkpoint dtype.
        heads, kv_heads, channels: indices that stayed, ascending; channels of each expert apart.
        attention_error, ffn_error: tr(ΔW H ΔWᵀ) / tr(W H Wᵀ), undamped.
        attention_damping, ffn_damping: λ that was used, 0 where nothing was factorised.
        unseen_experts: no calibration token was routed to them; cut by weights alone.
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
    """What was lost of the output, squared, what it was, and the damping that it took."""

    lost: float = 0.0
    whole: float = 0.0
    damping: float = 0.0

    @property
    def error(self) -> float:
        return self.lost / self.whole if self.whole else 0.0


def _sum_outcomes(outcomes: list[_Outcome]) -> _Outcome:
    """Of all experts of a layer."""
    return _Outcome(
        sum(one.lost for one in outcomes),
        sum(one.whole for one in outcomes),
        max(one.damping for one in outcomes),
    )


@dataclass
class LayerPruning:
    """A layer while it is pruned."""

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
        self.attention_columns: Tensor | None = None  # of `o_proj` and `down_proj` that stayed,
        self.ffn_columns: Tensor | None = None  # (K,) int64; None before the half was pruned
        self.unseen_experts: list[int] = []

    @property
    def loses_heads(self) -> bool:
        return self.target.heads < self.size.heads

    @property
    def loses_channels(self) -> bool:
        return self.target.channels < self.size.channels

    @property
    def output_weight(self) -> Tensor:
        """Of `o_proj`, (O, I), as it is now."""
        family = self.stack.architecture.family
        return matrix(self.tensors, family, family.output)

    @property
    def down_weights(self) -> list[Tensor]:
        """Of the `down_proj` of every FFN, (O, I) each, as they are now."""
        ffns = self.stack.architecture.ffns()
        return [matrix(self.tensors, own.family, own.family.down) for own in ffns]

    def block(self) -> Block:
        """The layer as it is now."""
        return self.stack.build(self.index, self.size, self.tensors)

    def advance(self, step: Step, batches: list[Tensor]) -> None:
        """A step forward on all batches."""
        self.stack.advance(self.index, step, batches)

    def heads(self, inputs: Inputs, correction: Tensor | None = None) -> None:
        """Heads leave, by the inputs of `o_proj`."""
        architecture, before = self.stack.architecture, self.size
        W_OI = self.output_weight
        units = head_units(before, self.target, W_OI.shape[1])
        variance_I = self.dense.attention.to(W_OI.device) if self.dense else None
        problem = Problem(W_OI, inputs, units, "attention", variance_I, correction)
        [(solution, self.attention)] = self._solved([(architecture.family.output, problem)])
        self.tensors, self.kept_heads, self.kept_kv_heads = cut_heads(
            self.tensors, architecture, before, solution
        )
        self.attention_columns = solution.kept
        self.size = LayerSize(self.target.heads, self.target.kv_heads, before.channels)

    def channels(self, inputs: list[Inputs], correction: Tensor | None = None) -> None:
        """Channels leave every FFN of the layer, by the inputs of its `down_proj`."""
        before, kept, outcomes = self.size, [], []
        variance_I = self.dense.ffn.to(self.stack.device) if self.dense else None
        units = (Units(width=1, groups=1, quota=before.channels - self.target.channels),)
        self.unseen_experts = [number for number, seen in enumerate(inputs) if not seen.tokens]
        for number in self.unseen_experts:
            inputs[number].assume_alike()
        problems = [
            Problem(W_OI, seen, units, "ffn", variance_I, correction)
            for W_OI, seen in zip(self.down_weights, inputs, strict=True)
        ]
        ffns = self.stack.architecture.ffns()
        solved = self._solved([(o.family.down, p) for o, p in zip(ffns, problems, strict=True)])
        for own, seen, (solution, outcome) in zip(ffns, inputs, solved, strict=True):
            self.tensors, channels = cut_channels(self.tensors, own, before, solution)
            kept.append(channels)
            outcomes.append(outcome if seen.tokens else _Outcome())
            self.ffn_columns = solution.kept
        self.kept_channels = kept if self.stack.architecture.experts else kept[0]
        self.ffn = _sum_outcomes(outcomes)
        self.size = LayerSize(before.heads, before.kv_heads, self.target.channels)

    def finished(self) -> PrunedLayer:
        """What is left, and what it cost."""
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

    def _solved(self, problems: Sequence[tuple[str, Problem]]) -> list[tuple[Solution, _Outcome]]:
        """The solutions by projection, each found by one rank: experts by several at once."""

        def solved(named: tuple[str, Problem]) -> tuple[Solution, _Outcome]:
            name, problem = named
            return _solved(problem, self.prune, f"layer {self.index} {name}")

        return self.stack.ranks.each(problems, solved)


def going_on(
    inputs: Step, columns_K: Tensor, rest: Callable[[Tensor, Tensor, Call], Tensor]
) -> Step:
    """The half that is left of a layer, from the inputs of its projection.

    Args:
        inputs: of the projection before it was cut, (…, I).
        columns_K: those that stayed.
        rest: `Block.attend_from` or `Block.feed_forward_from`.
    """

    def step(hidden_BSD: Tensor, call: Call) -> Tensor:
        inputs_TK = inputs(hidden_BSD, call).flatten(0, -2)[:, columns_K]
        return rest(inputs_TK, hidden_BSD, call)

    return step


class KeptInputs:
    """A projection's inputs on all batches, kept until the layer is advanced, if they are few."""

    def __init__(self, stack: Stack, batches: list[Tensor], kind: Kind, columns: int) -> None:
        self._keeps = few(stack, batches, kind, columns)
        self._batches: deque[Tensor] = deque()

    def add(self, inputs: Tensor) -> None:
        """Those of the next batch."""
        if self._keeps:
            self._batches.append(inputs)

    def watching(self, half: Callable[[Tensor, Call], HalfPass]) -> Callable[..., HalfPass]:
        """The same pass, whose inputs are kept."""

        def watch(hidden_BSD: Tensor, call: Call) -> HalfPass:
            seen = half(hidden_BSD, call)
            self.add(seen.inputs)
            return seen

        return watch

    def step(
        self, half: Step, rest: Callable[[Tensor, Tensor, Call], Tensor], columns_K: Tensor | None
    ) -> Step:
        """The half that is left of the layer, for all batches in their order.

        Args:
            half: `Block.attend` or `Block.feed_forward`.
            rest: the same from the inputs of its projection on.
            columns_K: those that stayed; None where nothing was gathered.
        """
        if columns_K is None or not self._batches:
            return half
        return going_on(lambda *_: self._batches.popleft(), columns_K, rest)


def few(stack: Stack, batches: list[Tensor], kind: Kind, columns: int) -> bool:
    """Whether inputs of so many columns are kept until the layer is advanced.

    Never those of heads under one norm: without the others each has other queries and keys.
    """
    if kind == "attention" and stack.architecture.family.span_norms:
        return False
    size = sum(batch[..., 0].numel() * batch.element_size() for batch in batches) * columns
    return stack.device.type == "cpu" and size <= CACHED_INPUTS


def head_units(size: LayerSize, target: LayerSize, columns: int) -> tuple[Units, ...]:
    """What leaves of attention: whole KV groups, then as many query heads of each that stays."""
    per_group, left = size.heads // size.kv_heads, target.heads // target.kv_heads
    rounds = []
    if target.kv_heads < size.kv_heads:
        quota = size.kv_heads - target.kv_heads
        rounds.append(Units(columns // size.kv_heads, groups=1, quota=quota))
    if left < per_group:
        quota = per_group - left
        rounds.append(Units(columns // size.heads, groups=target.kv_heads, quota=quota))
    return tuple(rounds)


def _solved(problem: Problem, prune: Prune, where: str) -> tuple[Solution, _Outcome]:
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
