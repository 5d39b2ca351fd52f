"""`Block`: one decoder layer, run as attention and FFN halves.

The layer is transformers' own class for the family, built at the layer's own sizes, so what is
computed here is what the published checkpoint computes. A half is the stock layer with the other
half silent: a module that adds zeros to the residual stream changes nothing in it, whatever norms
and multipliers lie around. Between the halves the layer is cut: heads leave before the FFN sees the
attention's output. Where both halves read the layer's input (`parallel`), the FFN never sees it,
and the layer runs as a whole.

Names end in their shape: B batch, S sequence, D d_model, T tokens, I inputs of a projection, C
channels, F gates and ups (2 · C), K experts of a token, N tokens of an expert.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimgpt.checkpoints.families.family import Family

Call = dict[str, Any]
Step = Callable[[Tensor, Call], Tensor]
EXPERTS = "mlp.experts"  # of every stock layer with a router
TINY = 1e-12


@dataclass(frozen=True)
class HalfPass:
    """What one half of a layer, attention or FFN, does to a batch.

    Attributes:
        inputs: of its output projection (`o_proj` or `down_proj`), (T, I), checkpoint dtype.
        outputs: of that projection, (T, D), checkpoint dtype.
        stream: the residual stream after the half, (B, S, D), checkpoint dtype.
        scale: what a token's outputs are multiplied by on their way into the stream, (T, 1),
            float32; 1 but in families that norm what a half adds.
        gain: what each output is multiplied by there, (D,), float32.
    """

    inputs: Tensor
    outputs: Tensor
    stream: Tensor
    scale: Tensor
    gain: Tensor

    @property
    def weighted_inputs(self) -> Tensor:
        """The inputs, each token's over the length of the stream behind the half, (T, I)."""
        length_T1 = torch.linalg.vector_norm(
            self.stream.flatten(0, 1), dim=1, keepdim=True, dtype=torch.float32
        )
        weighted_TI: Tensor = self.inputs * (self.scale / length_T1.clamp_min(TINY))  # in float32
        return weighted_TI.to(self.inputs.dtype)


class Block:
    """A decoder layer on its device.

    Args:
        module: transformers' decoder layer, weights loaded.
        family: names of its parts.
        parallel: both halves read the layer's input.
    """

    def __init__(self, module: nn.Module, family: Family, *, parallel: bool = False) -> None:
        self.parallel = parallel
        self._whole = module
        self._output = module.get_submodule(family.output)
        self._down = module.get_submodule(EXPERTS if family.experts else family.down)
        self._attention = _without(module, {family.ffn: _Zeros(), **_rest(family)})
        self._ffn = _without(module, {family.attention: _ZeroAttention()})
        self._attention_projected = _Projected(self._output, attention=True)
        self._ffn_projected = _Projected(self._down, attention=False)
        self._attention_end = _without(
            module,
            {family.attention: self._attention_projected, family.ffn: _Zeros(), **_rest(family)},
        )
        self._ffn_end = _without(
            module,
            {family.attention: _ZeroAttention(), **_ffn_end(family, self._ffn_projected)},
        )
        self._routed = bool(family.experts)
        self._multiplier = getattr(module, "residual_multiplier", 1.0)
        self._after_norms = [module.get_submodule(name) for name in family.after_norms]

    def forward(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """The layer.

        Args:
            hidden_BSD: residual stream, checkpoint dtype.
            call: the keyword arguments that the stock model gives its layers.
        """
        if self.parallel:
            return _stream(self._whole(hidden_BSD, **call))
        return self.feed_forward(self.attend(hidden_BSD, call), call)

    def attend(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """The stream with what the attention half adds; not of a parallel layer."""
        assert not self.parallel
        return _stream(self._attention(hidden_BSD, **call))

    def feed_forward(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """The stream with what the FFN half adds."""
        return _stream(self._ffn(hidden_BSD, **call))

    def attend_from(self, inputs_TI: Tensor, hidden_BSD: Tensor, call: Call) -> Tensor:
        """`attend`, given what its `o_proj` is given."""
        self._attention_projected.inputs = inputs_TI
        return _stream(self._attention_end(hidden_BSD, **call))

    def feed_forward_from(self, inputs_TC: Tensor, hidden_BSD: Tensor, call: Call) -> Tensor:
        """`feed_forward`, given what its `down_proj` is given; not of a layer with experts."""
        self._ffn_projected.inputs = inputs_TC
        return _stream(self._ffn_end(hidden_BSD, **call))

    def attention_inputs(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """Inputs of `o_proj`, (B, S, heads · head_dim); nothing beyond them is computed."""
        return inputs_of([self._output], lambda: self._attention(hidden_BSD, **call))[0][0]

    def ffn_inputs(self, hidden_BSD: Tensor, call: Call) -> list[Tensor]:
        """Inputs of each FFN's `down_proj`, (…, C); nothing beyond them is computed.

        An expert's are those of the tokens that were routed to it, times the weight that its output
        has in the layer's: what is lost of it is lost of the layer's output by that much.
        """
        (given,) = inputs_of([self._down], lambda: self._ffn(hidden_BSD, **call))
        return routed_inputs(self._down, *given) if self._routed else [given[0]]

    def attention_pass(self, hidden_BSD: Tensor, call: Call) -> HalfPass:
        """The attention half, with what its `o_proj` is given and gives.

        Of a parallel layer the stream is the layer's output, with what the FFN adds.
        """
        half = self.forward if self.parallel else self.attend
        return self._watched(self._output, self._after_norms[:1], half, hidden_BSD, call)

    def ffn_pass(self, hidden_BSD: Tensor, call: Call) -> HalfPass:
        """The FFN half, with what its `down_proj` is given and gives; not of a layer with experts.

        Of a parallel layer the stream is the layer's output, with what the attention adds.
        """
        assert not self._routed
        half = self.forward if self.parallel else self.feed_forward
        return self._watched(self._down, self._after_norms[1:], half, hidden_BSD, call)

    def _watched(
        self,
        projection: nn.Module,
        norms: Sequence[nn.Module],
        half: Step,
        hidden_BSD: Tensor,
        call: Call,
    ) -> HalfPass:
        seen: list[tuple[Tensor, Tensor]] = []
        handle = projection.register_forward_hook(
            lambda _, given, made: seen.append((given[0], made))
        )
        try:
            stream_BSD = half(hidden_BSD, call)
        finally:
            handle.remove()
        [(inputs, outputs)] = seen
        outputs_TD = outputs.reshape(-1, outputs.shape[-1])
        scale_T1 = torch.full_like(outputs_TD[:, :1], self._multiplier, dtype=torch.float32)
        gain_D = torch.ones_like(outputs_TD[0], dtype=torch.float32)
        for norm in norms:  # an RMSNorm: its weight times outputs over their root mean square
            square_T1 = outputs_TD.float().square().mean(1, keepdim=True)
            scale_T1 = scale_T1 * square_T1.clamp_min(TINY).rsqrt()
            gain_D = norm(outputs.new_ones(1, len(gain_D)))[0].float()
        inputs_TI = inputs.reshape(-1, inputs.shape[-1])
        return HalfPass(inputs_TI, outputs_TD, stream_BSD, scale_T1, gain_D)

    def inputs(self, hidden_BSD: Tensor, call: Call) -> list[Tensor]:
        """Inputs of `o_proj` and of `down_proj` of a layer whose halves both read its input."""
        modules = [self._output, self._down]
        return [given[0] for given in inputs_of(modules, lambda: self._whole(hidden_BSD, **call))]

    def ffn_contribution(self, hidden_BSD: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """The layer's output, and what of it the FFN half has added to the stream."""
        if self.parallel:
            return self.forward(hidden_BSD, call), self.feed_forward(hidden_BSD, call) - hidden_BSD
        attended_BSD = self.attend(hidden_BSD, call)
        output_BSD = self.feed_forward(attended_BSD, call)
        return output_BSD, output_BSD - attended_BSD


def routed_inputs(
    experts: Any,
    hidden_TD: Tensor,
    chosen_TK: Tensor,  # numbers of experts
    weights_TK: Tensor,  # of their outputs
) -> list[Tensor]:
    """For each expert the weighted inputs of its `down_proj`, (tokens routed to it, C)."""
    inputs = []
    for number, gate_up_FD in enumerate(experts.gate_up_proj):
        token_N, rank_N = torch.where(chosen_TK == number)
        wide_NF = nn.functional.linear(hidden_TD[token_N], gate_up_FD)
        gate_NC, up_NC = wide_NF.chunk(2, dim=-1)
        weight_N = weights_TK[token_N, rank_N].to(hidden_TD.dtype)
        inputs.append(experts.act_fn(gate_NC) * up_NC * weight_N[:, None])
    return inputs


class _Zeros(nn.Module):
    """Adds nothing."""

    def forward(self, hidden_BSD: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros_like(hidden_BSD)


class _ZeroAttention(nn.Module):
    """Adds nothing, and says no attention weights."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None


class _Projected(nn.Module):
    """What an output projection makes of the inputs that it was given before."""

    inputs: Tensor

    def __init__(self, projection: nn.Module, *, attention: bool) -> None:
        super().__init__()
        self._projection, self._attention = projection, attention

    def forward(self, *given: Tensor, **call: Any) -> Tensor | tuple[Tensor, None]:
        hidden: Tensor = given[0] if given else call["hidden_states"]  # (…, D)
        outputs = self._projection(self.inputs).view(*hidden.shape[:-1], -1)
        return (outputs, None) if self._attention else outputs


def _ffn_end(family: Family, projected: nn.Module) -> dict[str, nn.Module]:
    """What stands in for the FFN where it goes on from the inputs of its `down_proj`."""
    if "." in family.down:
        return {family.ffn: projected}
    return {family.ffn: _Zeros(), family.down: projected}


def _rest(family: Family) -> dict[str, nn.Module]:
    """What else must be silent where the layer itself runs its FFN's projections."""
    return {} if "." in family.down else {family.down: _Zeros()}


def _without(module: nn.Module, silent: dict[str, nn.Module]) -> nn.Module:
    """The same layer, its weights shared, with some children replaced."""
    half = copy.copy(module)
    half._modules = {**module._modules, **silent}
    return half


def _stream(output: Tensor | Sequence[Any]) -> Tensor:
    """What a stock layer passes on; some give more than that."""
    return output if isinstance(output, Tensor) else output[0]


class _StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Raised at the last watched module to end the forward pass there."""


def calls_of(modules: Sequence[nn.Module], forward: Callable[[], Any]) -> list[tuple[Any, Call]]:
    """What each module is called with in a forward pass, which ends when all of them were."""
    seen: dict[int, tuple[Any, Call]] = {}

    def watch(module: nn.Module, arguments: tuple[Any, ...], call: Call) -> None:
        seen[id(module)] = arguments, call
        if len(seen) == len(modules):
            raise _StopForward

    handles = [module.register_forward_pre_hook(watch, with_kwargs=True) for module in modules]
    try:
        forward()
    except _StopForward:
        return [seen[id(module)] for module in modules]
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError("the forward pass never reached the last module that was asked for")


def inputs_of(modules: Sequence[nn.Module], forward: Callable[[], Any]) -> list[tuple[Tensor, ...]]:
    """What each module is given; see `calls_of`."""
    return [arguments for arguments, _ in calls_of(modules, forward)]
