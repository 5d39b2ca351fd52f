"""Damage curves of all modules, attention and FFN of each layer, from one pass of the dense model.

One layer is in memory at a time. The Gram matrix of each module's inputs, every token divided by
the norm of the residual stream after the module, gives the shape of its curve (`methods.damage`).
At a few levels the module is pruned, and a *probe* starts: the residual stream of the dense model
with this module pruned, on a few sequences. Probes advance through the dense layers that follow;
after the last one, the KL divergence between the outputs of probe and dense model gives the scale.

On several devices each rank runs its share of the batches and Gram matrices are summed. Modules are
distributed over the ranks: one rank runs a module's elimination and its probes.

Losses are measured in every second layer (`planning.forecast.measured_layers`) and interpolated
over depth for the others.

Names end in their shape: Q sequences, B batch, S sequence, D d_model, T tokens, O outputs (d_out),
I inputs (d_in), K kept columns, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import NumericalError
from slimgpt.layers import surgery
from slimgpt.layers.block import Block
from slimgpt.layers.stack import Stack
from slimgpt.methods import damage
from slimgpt.methods.problem import Kind, Problem, Settings, Solution, Units
from slimgpt.methods.statistics import Inputs
from slimgpt.planning.costs import Costs, LayerCosts
from slimgpt.planning.damage import AttentionLevel, Damage, FfnLevel, LayerDamage
from slimgpt.planning.forecast import LOGIT_TOKENS, MEASURED, PROBE_TOKENS, PROBES, measured_layers

_Module = damage.Module[LayerSize]
FFN_LEVELS = 48  # about, of an FFN's curve


@dataclass
class _Probe:
    """Residual stream (B, S, D) of the dense model with one module pruned; in host memory."""

    module: _Module
    level: int
    stream: Tensor


@torch.no_grad()
def measure(
    stack: Stack, token_ids_QS: Tensor, costs: Costs, settings: Settings
) -> Generator[tuple[int, int], None, Damage]:
    """Measure the damage curves of all modules.

    Args:
        stack: the dense model.
        token_ids_QS: calibration tokens, int64; probes use the first tokens of the first sequences.
        costs: of the model's removal units.

    Yields:
        the number of finished steps (layers and the comparison) and of all steps.

    Returns:
        the curves.

    Raises:
        NumericalError: a module's Hessian cannot be factorised, or the output with a pruned module
            is not finite.
    """
    total = len(costs.layers) + 1
    batches = stack.embed(stack.share(token_ids_QS))
    probe_ids = token_ids_QS[:PROBES, :PROBE_TOKENS].contiguous()
    dense_BSD = torch.cat(stack.embed(probe_ids)).to(stack.device)
    modules: list[_Module] = []
    probes: list[_Probe] = []
    measured = measured_layers(costs)
    for index, layer in enumerate(costs.layers):
        survey = _LayerSurvey(stack, index, layer, costs.least_multiple, settings)
        call = stack.call(index, dense_BSD)
        for probe in probes:
            probe.stream = survey.block.forward(probe.stream.to(stack.device), call).cpu()
        kinds = [kind for kind, layers in measured.items() if index in layers]
        probes += survey.run(batches, dense_BSD, kinds)
        modules += survey.modules
        dense_BSD = survey.block.forward(dense_BSD, call)
        yield index + 1, total
    _compare(stack, dense_BSD, probes)
    modules = stack.ranks.exchange(modules)
    _check_finite(modules)
    for number in (0, 1):
        damage.interpolate(modules[number::2])
    yield total, total
    layers = [_layer_damage(*pair) for pair in zip(modules[0::2], modules[1::2], strict=True)]
    return Damage(measured_tokens=probe_ids.numel(), layers=layers)


class _LayerSurvey:
    """One dense layer and its two modules, of which each is measured by one rank."""

    def __init__(
        self, stack: Stack, index: int, layer: LayerCosts, multiple: int, settings: Settings
    ) -> None:
        self._stack, self._index, self._layer, self._settings = stack, index, layer, settings
        self._multiple = multiple
        self._tensors = stack.read_layer(index)
        self.block = stack.build(index, layer.size, self._tensors)
        self.modules = self._attention(), self._ffn()

    def run(
        self, batches: list[Tensor], dense_BSD: Tensor, measured: Collection[str]
    ) -> list[_Probe]:
        """Measure the modules that this rank owns; returns their probes.

        Args:
            batches: residual stream before the layer, (B, S, D) each; advanced through the layer.
            dense_BSD: residual stream of the probes' sequences before the layer.
            measured: kinds of modules whose losses are measured in this layer.
        """
        # The inputs of both modules first, so that two ranks eliminate at the same time.
        inputs = [self._collect(module.kind, batches) for module in self.modules]
        probes = list[_Probe]()
        for number, module in enumerate(self.modules):
            if not self._stack.ranks.owns(2 * self._index + number):
                continue
            if module.kind in measured:
                probes += self._probes(module, inputs[number], dense_BSD)
            else:
                self._eliminate(module, inputs[number])
        return probes

    def _attention(self) -> _Module:
        """Levels of the attention: branches remove KV groups, then query heads of each group."""
        size, width = self._layer.size, self._stack.architecture.head_dim
        sizes = self._layer.attention_levels()
        tree, before = list[list[Units]](), size
        for level in sizes:
            if level.kv_heads != before.kv_heads or not tree:
                group = width * size.heads // size.kv_heads
                tree.append([Units(group, 1, before.kv_heads - level.kv_heads)])
            else:
                tree[-1].append(Units(width, level.kv_heads, 1))
            before = level
        return damage.Module("attention", sizes, tree, self._measured_levels(sizes))

    def _ffn(self) -> _Module:
        """Levels of the FFN: legal widths at equal distances, down to the least."""
        size = self._layer.size
        step = self._multiple * max(1, size.channels // (FFN_LEVELS * self._multiple))
        first = size.channels - (size.channels % self._multiple or step)
        least = self._layer.least_width(self._multiple)
        widths = list(dict.fromkeys([size.channels, *range(first, least, -step), least]))
        sizes = [LayerSize(size.heads, size.kv_heads, width) for width in widths]
        tree = [[Units(1, 1, before - after)] for before, after in pairwise(widths)]
        return damage.Module("ffn", sizes, tree, self._measured_levels(sizes))

    def _eliminate(
        self, module: _Module, projections: list[_Projection], refit: Sequence[int] = ()
    ) -> list[list[damage.Level]]:
        """Set the errors of the module's levels.

        Args:
            refit: levels whose weights are wanted.

        Returns:
            the levels of each projection, from the first pruned one on.
        """
        cuts = [
            damage.levels(
                Problem(one.weight, one.inputs, (), module.kind),
                one.gain,
                self._settings,
                module.tree,
                refit=[level - 1 for level in refit],
            )
            for one in projections
        ]
        errors = [sum(level.error for level in levels) for levels in zip(*cuts, strict=True)]
        module.errors = [0.0, *errors]
        return cuts

    def _probes(
        self, module: _Module, projections: list[_Projection], dense_BSD: Tensor
    ) -> Iterator[_Probe]:
        """The module's probes after this layer; sets the errors of its levels."""
        cuts = self._eliminate(module, projections, refit=module.levels)
        call = self._stack.call(self._index, dense_BSD)
        for level in module.levels:
            module.losses[level] = 0.0
            solutions = [levels[level - 1].solution for levels in cuts]
            pruned = self._pruned(module.kind, module.sizes[level], solutions)
            yield _Probe(module, level, pruned.forward(dense_BSD, call).cpu())

    def _measured_levels(self, sizes: list[LayerSize]) -> list[int]:
        """The levels nearest to the shares of `MEASURED`; none without a smaller size."""
        removed = [self._layer.removed(size) for size in sizes]
        pruned = range(1, len(sizes))
        nearest = [
            min(pruned, key=lambda level: abs(removed[level] - share * removed[-1]))
            for share in (MEASURED if pruned else ())
        ]
        return list(dict.fromkeys(nearest))

    def _collect(self, kind: Kind, batches: list[Tensor]) -> list[_Projection]:
        """The module's output projections with their inputs; advances the batches through it.

        Inputs are weighted as in `HalfPass.weighted_inputs`, those of experts by the router alone.
        """
        stack, block = self._stack, self.block
        routed = kind == "ffn" and stack.architecture.experts
        half = block.attention_pass if kind == "attention" else block.ffn_pass
        weights = surgery.output_weights(self._tensors, stack.architecture, kind)
        found = [_Projection.empty(W_OI) for W_OI in weights]
        for position, hidden_BSD in stack.transfers.each(batches):
            call = stack.call(self._index, hidden_BSD)
            if routed:
                inputs = block.ffn_inputs(hidden_BSD, call)
                stream_BSD = block.feed_forward(hidden_BSD, call)
            else:
                seen = half(hidden_BSD, call)
                inputs, stream_BSD, found[0].gain = [seen.weighted_inputs], seen.stream, seen.gain
            if kind == "ffn" or not block.parallel:
                batches[position] = stack.transfers.back(stream_BSD, batches[position])
            for projection, X in zip(found, inputs, strict=True):
                projection.inputs.add_(X)
        for projection in found:
            projection.inputs.sum_over(stack.ranks)
            projection.gain = stack.ranks.broadcast(projection.gain)  # to ranks without a batch
            if not projection.inputs.tokens:
                projection.inputs.assume_alike()
            projection.inputs.check_finite()
        return found

    def _pruned(self, kind: Kind, size: LayerSize, solutions: list[Solution]) -> Block:
        """The layer with one module pruned; `size` is that of the layer after it."""
        tensors, architecture, whole = self._tensors, self._stack.architecture, self._layer.size
        if kind == "attention":
            tensors, *_ = surgery.cut_heads(tensors, architecture, whole, solutions[0])
        else:
            tensors, _ = surgery.cut_channels(tensors, architecture, whole, solutions)
        return self._stack.build(self._index, size, tensors)


@dataclass
class _Projection:
    """A module's output projection, or one expert's.

    Attributes:
        weight: (O, I), float32.
        inputs: sums over its weighted inputs.
        gain: factor of each output when it is added to the residual stream, (O,); see `HalfPass`.
    """

    weight: Tensor
    inputs: Inputs
    gain: Tensor

    @classmethod
    def empty(cls, W_OI: Tensor) -> _Projection:
        """The projection with empty sums and gain 1."""
        W_OI = W_OI.float()
        return cls(W_OI, Inputs.empty(W_OI.shape[1], W_OI.device), torch.ones_like(W_OI[:, 0]))


def _compare(stack: Stack, dense_BSD: Tensor, probes: list[_Probe]) -> None:
    """Add the KL divergence of each probe's output from the dense one to its module's losses."""
    head = stack.head()
    size = max(1, LOGIT_TOKENS // dense_BSD.shape[1])
    for rows in torch.split(torch.arange(len(dense_BSD)), size):
        dense = damage.Divergence(head(dense_BSD[rows]).flatten(0, 1))
        for probe in probes:
            own_BSD = probe.stream[rows].to(stack.device)
            loss = dense.of(head(own_BSD).flatten(0, 1))
            probe.module.losses[probe.level] += loss / dense_BSD[..., 0].numel()


def _check_finite(modules: list[_Module]) -> None:
    for number, module in enumerate(modules):
        if not all(map(math.isfinite, module.losses.values())):
            layer, half = divmod(number, 2)
            raise NumericalError(
                f"layer {layer}: with a smaller {('attention', 'FFN')[half]} the model's output is "
                "NaN or infinite on the calibration tokens",
                hint="the checkpoint overflows: try the model in bfloat16 or float32, or another "
                "schedule than `measured`",
            )


def _layer_damage(attention: _Module, ffn: _Module) -> LayerDamage:
    heads = zip(attention.sizes, attention.damages, strict=True)
    widths = zip(ffn.sizes, ffn.damages, strict=True)
    return LayerDamage(
        attention=[AttentionLevel(heads=s.heads, kv_heads=s.kv_heads, damage=d) for s, d in heads],
        ffn=[FfnLevel(channels=s.channels, damage=d) for s, d in widths],
    )
