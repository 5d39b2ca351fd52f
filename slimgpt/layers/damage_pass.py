"""The damage of every module, measured in one pass over the dense model.

Layer by layer, with one layer in memory: the Gram matrix of each module's inputs, every token
divided by the length of the residual stream behind the module, gives the shape of its curve
(`methods.damage`). At a few levels the module is cut, and a stream through the cut module joins
those that are on their way already through the dense layers that follow; at the end each stream's
output is compared with the dense one, which gives the scale.

On several devices each runs its share of the batches, Gram matrices are summed, and modules are
divided: one rank eliminates in a module and carries its probes to the end.

Every second module of a kind is measured (`planning.forecast.measured_layers`); the losses of the
others are interpolated over depth.

Names end in their shape: Q sequences, B batch, S sequence, D d_model, T tokens, I inputs (d_in), V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers.block import Block
from slimgpt.layers.stack import Stack
from slimgpt.layers.surgery import cut_channels, cut_heads, matrix
from slimgpt.methods import damage
from slimgpt.methods.problem import Problem, Settings, Units
from slimgpt.methods.statistics import Inputs
from slimgpt.planning.costs import Costs, LayerCosts
from slimgpt.planning.damage import AttentionLevel, Damage, FfnLevel, LayerDamage
from slimgpt.planning.forecast import LOGIT_TOKENS, MEASURED, PROBE_TOKENS, PROBES, measured_layers

FFN_LEVELS = 48
Kind = Literal["attention", "ffn"]


@dataclass
class _Probe:
    """A residual stream (B, S, D) that one cut module has changed; in host memory."""

    module: damage.Module
    level: int
    stream: Tensor


@torch.no_grad()
def measure(
    stack: Stack, token_ids_QS: Tensor, costs: Costs, settings: Settings
) -> Generator[tuple[int, int], None, Damage]:
    """Measure all modules; yields how many steps are done, and of how many.

    Args:
        token_ids_QS: calibration tokens, int64; the probes are the first of them.

    Raises:
        NumericalError: a module's Hessian cannot be factorised, or the output with a cut module is
            not finite.
    """
    total, ranks = len(costs.layers) + 1, stack.ranks
    batches = stack.embed(stack.share(token_ids_QS))
    probe_ids = token_ids_QS[:PROBES, :PROBE_TOKENS].contiguous()
    dense_BSD = torch.cat(stack.embed(probe_ids)).to(stack.device)
    modules: list[damage.Module] = []
    probes: list[_Probe] = []
    measured = measured_layers(costs)
    for index, layer in enumerate(costs.layers):
        survey = _LayerSurvey(stack, index, layer, costs.least_multiple, settings)
        call = stack.call(index, dense_BSD)
        for probe in probes:
            probe.stream = survey.block.forward(probe.stream.to(stack.device), call).cpu()
        for surveyed in (survey.attention(batches), survey.ffn(batches)):
            module = damage.Module(surveyed.sizes, [], survey.measured_levels(surveyed.sizes), {})
            if ranks.owns(len(modules)) and index in measured[surveyed.kind]:
                probes += survey.probes(surveyed, module, dense_BSD)
            elif ranks.owns(len(modules)):
                survey.eliminate(surveyed, module)
            modules.append(module)
        dense_BSD = survey.block.forward(dense_BSD, call)
        yield index + 1, total
    _compare(stack, dense_BSD, probes)
    modules = ranks.exchange(modules)
    _check_finite(modules)
    for kind in (0, 1):
        damage.interpolate(modules[kind::2])
    yield total, total
    pairs = zip(modules[0::2], modules[1::2], strict=True)
    layers = [_curves(attention, ffn) for attention, ffn in pairs]
    return Damage(measured_tokens=probe_ids.numel(), layers=layers)


class _LayerSurvey:
    """The modules of one dense layer: all ranks survey them, one eliminates in each."""

    def __init__(
        self, stack: Stack, index: int, layer: LayerCosts, multiple: int, settings: Settings
    ) -> None:
        self._stack, self._index, self._layer, self._settings = stack, index, layer, settings
        self._multiple = multiple
        self._tensors = stack.read_layer(index)
        self.block = stack.build(index, layer.size, self._tensors)

    def attention(self, batches: list[Tensor]) -> _Surveyed:
        """Attention and its levels."""
        size = self._layer.size
        sizes = self._layer.attention_levels()
        tree, before = list[list[Units]](), size
        family = self._stack.architecture.family
        columns = matrix(self._tensors, family, family.output).shape[1]
        for level in sizes:
            if level.kv_heads != before.kv_heads or not tree:
                width = columns // size.kv_heads
                tree.append([Units(width, 1, before.kv_heads - level.kv_heads)])
            else:
                tree[-1].append(Units(columns // size.heads, level.kv_heads, 1))
            before = level
        return _Surveyed("attention", sizes, tree, self._survey("attention", batches))

    def ffn(self, batches: list[Tensor]) -> _Surveyed:
        """The FFN and widths of equal distance down to the least, all but the whole one legal."""
        size = self._layer.size
        step = self._multiple * max(1, size.channels // (FFN_LEVELS * self._multiple))
        first = size.channels - (size.channels % self._multiple or step)
        least = self._layer.least_width(self._multiple)
        widths = list(dict.fromkeys([size.channels, *range(first, least, -step), least]))
        sizes = [LayerSize(size.heads, size.kv_heads, width) for width in widths]
        tree = [[Units(1, 1, before - after)] for before, after in pairwise(widths)]
        return _Surveyed("ffn", sizes, tree, self._survey("ffn", batches))

    def eliminate(
        self, surveyed: _Surveyed, module: damage.Module, refit: Sequence[int] = ()
    ) -> list[list[damage.Level]]:
        """Give the module the errors of its levels.

        Args:
            refit: the levels whose weights are wanted.

        Returns:
            the levels of each projection, from the first pruned one on.
        """
        cuts = [
            damage.levels(
                Problem(one.weight, one.inputs, (), surveyed.kind),
                one.gain,
                self._settings,
                surveyed.tree,
                refit=[level - 1 for level in refit],
            )
            for one in surveyed.projections
        ]
        errors = [sum(level.error for level in levels) for levels in zip(*cuts, strict=True)]
        module.errors = [0.0, *errors]
        return cuts

    def probes(
        self, surveyed: _Surveyed, module: damage.Module, dense_BSD: Tensor
    ) -> Iterator[_Probe]:
        """The module's probes behind this layer; it is given the errors of its levels."""
        cuts = self.eliminate(surveyed, module, refit=module.levels)
        call = self._stack.call(self._index, dense_BSD)
        for level in module.levels:
            module.losses[level] = 0.0
            pruned = [levels[level - 1] for levels in cuts]
            cut = self._cut(surveyed.kind, module.sizes[level], pruned)
            yield _Probe(module, level, cut.forward(dense_BSD, call).cpu())

    def measured_levels(self, sizes: list[LayerSize]) -> list[int]:
        """The levels nearest to the shares of `MEASURED`; none where nothing can leave."""
        removed = [self._layer.removed(size) for size in sizes]
        pruned = range(1, len(sizes))
        nearest = [
            min(pruned, key=lambda level: abs(removed[level] - share * removed[-1]))
            for share in (MEASURED if pruned else ())
        ]
        return list(dict.fromkeys(nearest))

    def _survey(self, kind: Kind, batches: list[Tensor]) -> list[_Projection]:
        """The module's projections with their weighted inputs; the batches advance through it."""
        architecture = self._stack.architecture
        if kind == "ffn" and architecture.experts:
            return self._survey_experts(batches)
        family, block = architecture.family, self.block
        name = family.output if kind == "attention" else family.down
        found = _Projection.empty(matrix(self._tensors, family, name))
        half = block.attention_pass if kind == "attention" else block.ffn_pass
        for position, batch in enumerate(batches):
            hidden_BSD = batch.to(self._stack.device)
            seen = half(hidden_BSD, self._stack.call(self._index, hidden_BSD))
            if kind == "ffn" or not block.parallel:
                batches[position] = seen.stream.to(batch.device)
            found.inputs.add_(seen.weighted_inputs)
            found.gain = seen.gain
        found.inputs.sum_over(self._stack.ranks)
        found.gain = self._stack.ranks.broadcast(found.gain)  # alike on all that had a batch
        found.inputs.check_finite()
        return [found]

    def _survey_experts(self, batches: list[Tensor]) -> list[_Projection]:
        """Each expert's `down_proj`; its inputs are as long as the router makes them."""
        families = [one.family for one in self._stack.architecture.ffns()]
        experts = [_Projection.empty(matrix(self._tensors, one, one.down)) for one in families]
        for position, batch in enumerate(batches):
            hidden_BSD = batch.to(self._stack.device)
            call = self._stack.call(self._index, hidden_BSD)
            seen = self.block.ffn_inputs(hidden_BSD, call)
            batches[position] = self.block.feed_forward(hidden_BSD, call).to(batch.device)
            for expert, X in zip(experts, seen, strict=True):
                expert.inputs.add_(X)
        for expert in experts:
            expert.inputs.sum_over(self._stack.ranks)
            if not expert.inputs.tokens:
                expert.inputs.assume_alike()
            expert.inputs.check_finite()
        return experts

    def _cut(self, kind: Kind, size: LayerSize, levels: list[damage.Level]) -> Block:
        solutions = [level.solution for level in levels]
        architecture, whole = self._stack.architecture, self._layer.size
        tensors = self._tensors
        if kind == "attention":
            tensors, *_ = cut_heads(tensors, architecture, whole, solutions[0])
        else:
            for own, solution in zip(architecture.ffns(), solutions, strict=True):
                tensors, _ = cut_channels(tensors, own, whole, solution)
        return self._stack.build(self._index, size, tensors)


@dataclass(frozen=True)
class _Surveyed:
    """A module's projections, the layer's size at each level, and the rounds between levels."""

    kind: Kind
    sizes: list[LayerSize]
    tree: list[list[Units]]
    projections: list[_Projection]


@dataclass
class _Projection:
    """A module's output projection, or one expert's.

    Attributes:
        weight: (O, I), float32.
        inputs: weighted sums over what it is given.
        gain: what its outputs are multiplied by on their way into the stream, (O,).
    """

    weight: Tensor
    inputs: Inputs
    gain: Tensor

    @classmethod
    def empty(cls, W_OI: Tensor) -> _Projection:
        W_OI = W_OI.float()
        return cls(W_OI, Inputs.empty(W_OI.shape[1], W_OI.device), torch.ones_like(W_OI[:, 0]))


def _compare(stack: Stack, dense_BSD: Tensor, probes: list[_Probe]) -> None:
    """Give each probe's module the KL divergence of its output from the dense one, nats a token."""
    head = stack.head()
    size = max(1, LOGIT_TOKENS // dense_BSD.shape[1])
    for rows in torch.split(torch.arange(len(dense_BSD)), size):
        dense = damage.Divergence(head(dense_BSD[rows]).flatten(0, 1))
        for probe in probes:
            own_BSD = probe.stream[rows].to(stack.device)
            loss = dense.of(head(own_BSD).flatten(0, 1))
            probe.module.losses[probe.level] += loss / dense_BSD[..., 0].numel()


def _check_finite(modules: list[damage.Module]) -> None:
    for number, module in enumerate(modules):
        if not all(map(math.isfinite, module.losses.values())):
            layer, half = divmod(number, 2)
            raise NumericalError(
                f"layer {layer}: with a smaller {('attention', 'FFN')[half]} the model's output is "
                "NaN or infinite on the calibration tokens",
                hint="the checkpoint overflows: try the model in bfloat16 or float32, or another "
                "schedule than `measured`",
            )


def _curves(attention: damage.Module, ffn: damage.Module) -> LayerDamage:
    heads = zip(attention.sizes, attention.damages, strict=True)
    widths = zip(ffn.sizes, ffn.damages, strict=True)
    return LayerDamage(
        attention=[AttentionLevel(heads=s.heads, kv_heads=s.kv_heads, damage=d) for s, d in heads],
        ffn=[FfnLevel(channels=s.channels, damage=d) for s, d in widths],
    )
