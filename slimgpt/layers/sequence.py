"""Layer-wise pruning: each layer runs on activations of the pruned layers before it (section 6).

    hidden = embed(calibration tokens)
    for each decoder layer:
        1. H of o_proj's inputs      attention up to o_proj, on hidden
        2. heads leave
        3. hidden ← pruned attention half; H of down_proj's inputs on it
        4. channels leave
        5. hidden ← pruned FFN half

Two passes over the layer: attention runs in 1 and 3, the FFN in 3 and 5. Where both halves read the
layer's input, one pass gathers both, and a second advances. One layer, one activation
cache (host memory, a batch at a time on the device) and one Hessian are held at any time.

With a residual target (`layers.residual_target`) the dense model's stream runs beside, in a second
cache, and 1 and 3 fit to both; every projection is then refitted, cut or not.

Names end in their shape: B batch, S sequence, D d_model, O outputs (d_out), I inputs (d_in).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers.block import Block, Call, HalfPass, Step
from slimgpt.layers.residual_target import DenseStream, Target, gather
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import Tensors, cut_channels, cut_heads, matrix
from slimgpt.methods import obs
from slimgpt.methods.problem import Problem, Prune, Solution, Units
from slimgpt.methods.statistics import Inputs

Kept = list[int] | list[list[int]]


@dataclass(frozen=True)
class DenseVariances:
    """Variance of the inputs of one layer's `o_proj` and `down_proj` in the dense model."""

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


@torch.no_grad()
def prune_layer(
    stack: Stack,
    index: int,
    target: LayerSize,
    batches: list[Tensor],
    prune: Prune,
    dense: DenseVariances | None = None,
    dense_stream: DenseStream | None = None,
) -> PrunedLayer:
    """Prune one layer and advance the activations through what is left of it.

    Args:
        target: what the layer keeps.
        batches: residual stream (B, S, D) each, replaced by the layer's output.
        prune: the method.
        dense: for methods that surveyed the dense model.
        dense_stream: the dense model's residual stream before the layer, for a residual target;
            advanced too.

    Raises:
        NumericalError: names the layer and the projection.
    """
    pruning = _LayerPruning(stack, index, target, prune, dense)
    if dense_stream is not None:
        _prune_towards(pruning, batches, dense_stream)
    elif stack.parallel:
        _prune_parallel(pruning, batches)
    else:
        _prune_sequential(pruning, batches)
    return pruning.finished()


def _prune_sequential(pruning: _LayerPruning, batches: list[Tensor]) -> None:
    """The FFN is cut on what the attention that is already pruned gives it."""
    if pruning.loses_heads:
        block = pruning.block()
        (inputs,) = _accumulate(pruning, batches, lambda h, call: [block.attention_inputs(h, call)])
        pruning.heads(inputs)
    block = pruning.block()
    if pruning.loses_channels:
        pruning.channels(_accumulate(pruning, batches, block.ffn_inputs, block.attend))
    else:
        pruning.advance(block.attend, batches)
    pruning.advance(pruning.block().feed_forward, batches)


def _prune_towards(
    pruning: _LayerPruning, batches: list[Tensor], dense_stream: DenseStream
) -> None:
    """As the two others, with projections fitted to a residual target.

    Where both halves read the layer's input, `down_proj` alone makes up for the layers before; a
    router's experts, of which each sees few tokens, are fitted to their own outputs.
    """
    stack = pruning.stack
    call = functools.partial(stack.call, pruning.index)

    def target(half: Callable[[Tensor, Call], HalfPass], advance: Step) -> Target:
        return gather(batches, dense_stream, call, half, advance, stack.device)

    block = pruning.block()
    if stack.parallel:
        (inputs,) = _accumulate(pruning, batches, lambda h, call: [block.attention_inputs(h, call)])
        found = target(block.ffn_pass, block.forward)
        pruning.heads(inputs)
        pruning.channels([found.inputs], found.correction)
        pruning.advance(pruning.block().forward, batches)
        return
    found = target(block.attention_pass, block.attend)
    pruning.heads(found.inputs, found.correction)
    block = pruning.block()
    if stack.architecture.experts:
        pruning.channels(_accumulate(pruning, batches, block.ffn_inputs, block.attend))
        stack.advance(pruning.index, block.feed_forward, dense_stream.batches)
    else:
        pruning.advance(block.attend, batches)
        found = target(block.ffn_pass, block.feed_forward)
        pruning.channels([found.inputs], found.correction)
    pruning.advance(pruning.block().feed_forward, batches)


def _prune_parallel(pruning: _LayerPruning, batches: list[Tensor]) -> None:
    """Both halves are cut on what the layer is given: neither sees the other's output."""
    if pruning.loses_heads or pruning.loses_channels:
        attention, ffn = _accumulate(pruning, batches, pruning.block().inputs)
        if pruning.loses_heads:
            pruning.heads(attention)
        if pruning.loses_channels:
            pruning.channels([ffn])
    pruning.advance(pruning.block().forward, batches)


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
class _LayerPruning:
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
        self.unseen_experts: list[int] = []

    @property
    def loses_heads(self) -> bool:
        return self.target.heads < self.size.heads

    @property
    def loses_channels(self) -> bool:
        return self.target.channels < self.size.channels

    def block(self) -> Block:
        """The layer as it is now."""
        return self.stack.build(self.index, self.size, self.tensors)

    def advance(self, step: Step, batches: list[Tensor]) -> None:
        """A step forward on all batches."""
        self.stack.advance(self.index, step, batches)

    def heads(self, inputs: Inputs, correction: Tensor | None = None) -> None:
        """Heads leave, by the inputs of `o_proj`."""
        architecture, before = self.stack.architecture, self.size
        W_OI = matrix(self.tensors, architecture.family, architecture.family.output)
        units = head_units(before, self.target, W_OI.shape[1])
        variance_I = self.dense.attention if self.dense else None
        problem = Problem(W_OI, inputs, units, "attention", variance_I, correction)
        solution, self.attention = self._solved(problem, architecture.family.output)
        self.tensors, self.kept_heads, self.kept_kv_heads = cut_heads(
            self.tensors, architecture, before, solution
        )
        self.size = LayerSize(self.target.heads, self.target.kv_heads, before.channels)

    def channels(self, inputs: list[Inputs], correction: Tensor | None = None) -> None:
        """Channels leave every FFN of the layer, by the inputs of its `down_proj`."""
        before, kept, outcomes = self.size, [], []
        variance_I = self.dense.ffn if self.dense else None
        units = (Units(width=1, groups=1, quota=before.channels - self.target.channels),)
        for number, (own, seen) in enumerate(
            zip(self.stack.architecture.ffns(), inputs, strict=True)
        ):
            name = own.family.down
            if not seen.tokens:
                self.unseen_experts.append(number)
                seen.assume_alike()
            W_OI = matrix(self.tensors, own.family, name)
            problem = Problem(W_OI, seen, units, "ffn", variance_I, correction)
            solution, outcome = self._solved(problem, name)
            self.tensors, channels = cut_channels(self.tensors, own, before, solution)
            kept.append(channels)
            outcomes.append(outcome if seen.tokens else _Outcome())
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

    def _solved(self, problem: Problem, name: str) -> tuple[Solution, _Outcome]:
        return _solved(problem, self.prune, f"layer {self.index} {name}")


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
    return solution, _Outcome(lost, whole, solution.damping)


def _accumulate(
    pruning: _LayerPruning,
    batches: list[Tensor],
    watch: Callable[[Tensor, Call], list[Tensor]],
    step: Step | None = None,
) -> list[Inputs]:
    """Sums over the inputs that `watch` sees on all batches, after a step forward if given."""
    device, sums = pruning.stack.device, list[Inputs]()
    for position, batch in enumerate(batches):
        hidden_BSD = batch.to(device)
        call = pruning.stack.call(pruning.index, hidden_BSD)
        if step is not None:
            hidden_BSD = step(hidden_BSD, call)
            batches[position] = hidden_BSD.to(batch.device)
        seen = watch(hidden_BSD, call)
        sums = sums or [Inputs.empty(X.shape[-1], device) for X in seen]
        for total, X in zip(sums, seen, strict=True):
            total.add_(X)
    return sums
