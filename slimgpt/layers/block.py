"""`Block`: one decoder layer, run as its attention half and its FFN half.

The layer is an instance of transformers' class for the family, built at the layer's own sizes, so
its output is that of the published checkpoint. Each half is the same layer with the other half
replaced by a module that returns zeros: adding zeros leaves the residual stream unchanged, whatever
norms and multipliers the layer applies. Running the halves separately lets heads be pruned before
the inputs of the FFN are computed. In a parallel layer both halves read the layer's input, so the
FFN does not depend on the attention, and the layer runs as a whole.

Names end in their shape: B batch, S sequence, D d_model, T tokens, I inputs of a projection, C FFN
channels, F rows of the fused gate and up projections (2 · C), K experts per token, N tokens routed
to an expert.
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
EXPERTS = "mlp.experts"  # the name in every stock layer with a router
TINY = 1e-12


@dataclass(frozen=True)
class HalfPass:
    """Result of running one half of a layer, attention or FFN, on a batch.

    The half adds `scale · gain · outputs` to the residual stream. Both factors are 1, except in
    families with a residual multiplier or with a norm after the half.

    Attributes:
        inputs: inputs of the half's output projection (`o_proj` or `down_proj`), (T, I),
            checkpoint dtype.
        outputs: outputs of that projection, (T, D), checkpoint dtype.
        stream: residual stream after the half, (B, S, D), checkpoint dtype.
        scale: factor of each token, (T, 1), float32.
        gain: factor of each output, (D,), float32.
    """

    inputs: Tensor
    outputs: Tensor
    stream: Tensor
    scale: Tensor
    gain: Tensor

    @property
    def weighted_inputs(self) -> Tensor:
        """The inputs, each token's times `scale` / ‖its stream after the half‖, (T, I).

        With their Gram matrix as Hessian, errors are relative to the residual stream.
        """
        norm_T1 = torch.linalg.vector_norm(
            self.stream.flatten(0, 1), dim=1, keepdim=True, dtype=torch.float32
        )
        weighted_TI: Tensor = self.inputs * (self.scale / norm_T1.clamp_min(TINY))  # float32
        return weighted_TI.to(self.inputs.dtype)


class Block:
    """A decoder layer on its device.

    Args:
        module: transformers' decoder layer with its weights.
        family: names of the layer's modules.
        parallel: whether both halves read the layer's input.
    """

    def __init__(self, module: nn.Module, family: Family, *, parallel: bool) -> None:
        self.parallel = parallel
        self._whole = module
        self._output = module.get_submodule(family.output)
        self._down = module.get_submodule(EXPERTS if family.experts else family.down)
        # A `down` without a module before it is called by the layer itself.
        ffn = [family.ffn] if "." in family.down else [family.ffn, family.down]
        silent_ffn: dict[str, nn.Module] = {name: _Zeros() for name in ffn}
        silent_attention: dict[str, nn.Module] = {family.attention: _ZeroAttention()}
        self._attention = _with_children(module, silent_ffn)
        self._ffn = _with_children(module, silent_attention)
        self._o_proj = _GivenInputs(self._output, attention=True)
        self._down_proj = _GivenInputs(self._down, attention=False)
        self._attention_end = _with_children(module, silent_ffn | {family.attention: self._o_proj})
        self._ffn_end = _with_children(
            module, silent_attention | silent_ffn | {ffn[-1]: self._down_proj}
        )
        self._routed = bool(family.experts)
        self._multiplier = getattr(module, "residual_multiplier", 1.0)
        self._after_norms = [module.get_submodule(name) for name in family.after_norms]

    def forward(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """Residual stream after the layer, (B, S, D).

        Args:
            hidden_BSD: residual stream before the layer, checkpoint dtype.
            call: keyword arguments that the stock model passes to this layer (`Stack.call`).
        """
        if self.parallel:
            return _stream(self._whole(hidden_BSD, **call))
        return self.feed_forward(self.attend(hidden_BSD, call), call)

    def attend(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """Residual stream after the attention half, (B, S, D); not for parallel layers."""
        assert not self.parallel
        return _stream(self._attention(hidden_BSD, **call))

    def feed_forward(self, hidden_BSD: Tensor, call: Call) -> Tensor:
        """Residual stream `hidden_BSD` plus the output of the FFN half, (B, S, D)."""
        return _stream(self._ffn(hidden_BSD, **call))

    def attend_from(self, inputs_TI: Tensor, hidden_BSD: Tensor, call: Call) -> Tensor:
        """`attend`, given the inputs of `o_proj`."""
        self._o_proj.inputs = inputs_TI
        return _stream(self._attention_end(hidden_BSD, **call))

    def feed_forward_from(self, inputs_TC: Tensor, hidden_BSD: Tensor, call: Call) -> Tensor:
        """`feed_forward`, given the inputs of `down_proj`; not for layers with experts."""
        self._down_proj.inputs = inputs_TC
        return _stream(self._ffn_end(hidden_BSD, **call))

    def attention_inputs(self, hidden_BSD: Tensor, call: Call) -> list[Tensor]:
        """Inputs of `o_proj`, (B, S, heads · head_dim); the forward pass ends there."""
        (given,) = inputs_of([self._output], lambda: self._attention(hidden_BSD, **call))
        return [given[0]]

    def ffn_inputs(self, hidden_BSD: Tensor, call: Call) -> list[Tensor]:
        """Inputs of each FFN's `down_proj`, (…, C); the forward pass ends there.

        The inputs of an expert are those of the tokens routed to it, multiplied by their routing
        weights, so that errors of the expert count as much as in the layer's output.
        """
        (given,) = inputs_of([self._down], lambda: self._ffn(hidden_BSD, **call))
        return routed_inputs(self._down, *given) if self._routed else [given[0]]

    def attention_pass(self, hidden_BSD: Tensor, call: Call) -> HalfPass:
        """Run the attention half and record inputs and outputs of `o_proj`.

        For a parallel layer `stream` is the output of the whole layer, FFN included.
        """
        half = self.forward if self.parallel else self.attend
        return self._recorded(self._output, self._after_norms[:1], half, hidden_BSD, call)

    def ffn_pass(self, hidden_BSD: Tensor, call: Call) -> HalfPass:
        """Run the FFN half and record inputs and outputs of `down_proj`; not for experts.

        For a parallel layer `stream` is the output of the whole layer, attention included.
        """
        assert not self._routed
        half = self.forward if self.parallel else self.feed_forward
        return self._recorded(self._down, self._after_norms[1:], half, hidden_BSD, call)

    def _recorded(
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
        for norm in norms:  # RMSNorm: weight · outputs / root mean square
            square_T1 = outputs_TD.float().square().mean(1, keepdim=True)
            scale_T1 = scale_T1 * square_T1.clamp_min(TINY).rsqrt()
            gain_D = norm(outputs.new_ones(1, len(gain_D)))[0].float()
        inputs_TI = inputs.reshape(-1, inputs.shape[-1])
        return HalfPass(inputs_TI, outputs_TD, stream_BSD, scale_T1, gain_D)

    def inputs(self, hidden_BSD: Tensor, call: Call) -> list[Tensor]:
        """Inputs of `o_proj` and of `down_proj` of a parallel layer, (B, S, I) each."""
        modules = [self._output, self._down]
        return [given[0] for given in inputs_of(modules, lambda: self._whole(hidden_BSD, **call))]

    def ffn_contribution(self, hidden_BSD: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """Residual stream after the layer, and the FFN's addition to it, (B, S, D) each."""
        if self.parallel:
            return self.forward(hidden_BSD, call), self.feed_forward(hidden_BSD, call) - hidden_BSD
        attended_BSD = self.attend(hidden_BSD, call)
        output_BSD = self.feed_forward(attended_BSD, call)
        return output_BSD, output_BSD - attended_BSD


def routed_inputs(
    experts: Any,
    hidden_TD: Tensor,
    chosen_TK: Tensor,  # indices of experts, int64
    weights_TK: Tensor,  # routing weights
) -> list[Tensor]:
    """Inputs of each expert's `down_proj` times the routing weights, (N, C)."""
    inputs = []
    for number, gate_up_FD in enumerate(experts.gate_up_proj):
        token_N, rank_N = torch.where(chosen_TK == number)
        wide_NF = nn.functional.linear(hidden_TD[token_N], gate_up_FD)
        gate_NC, up_NC = wide_NF.chunk(2, dim=-1)
        weight_N = weights_TK[token_N, rank_N].to(hidden_TD.dtype)
        inputs.append(experts.act_fn(gate_NC) * up_NC * weight_N[:, None])
    return inputs


class _Zeros(nn.Module):
    """Replaces an FFN."""

    def forward(self, hidden_BSD: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.zeros_like(hidden_BSD)


class _ZeroAttention(nn.Module):
    """Replaces attention, which returns its output and attention weights."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None


class _GivenInputs(nn.Module):
    """An output projection in place of its half: applied to inputs that were computed before."""

    inputs: Tensor

    def __init__(self, projection: nn.Module, *, attention: bool) -> None:
        super().__init__()
        self._projection, self._attention = projection, attention

    def forward(self, *given: Tensor, **call: Any) -> Tensor | tuple[Tensor, None]:
        hidden: Tensor = given[0] if given else call["hidden_states"]  # (…, D)
        outputs = self._projection(self.inputs).view(*hidden.shape[:-1], -1)
        return (outputs, None) if self._attention else outputs


def _with_children(module: nn.Module, children: dict[str, nn.Module]) -> nn.Module:
    """A shallow copy of the layer, which shares its weights, with some children replaced."""
    half = copy.copy(module)
    half._modules = {**module._modules, **children}
    return half


def _stream(output: Tensor | Sequence[Any]) -> Tensor:
    """The hidden state that a stock layer returns, alone or first in a tuple."""
    return output if isinstance(output, Tensor) else output[0]


class _StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Ends the forward pass when the inputs of all modules are recorded."""


def calls_of(modules: Sequence[nn.Module], forward: Callable[[], Any]) -> list[tuple[Any, Call]]:
    """Arguments and keyword arguments of each module's call in a forward pass.

    The pass ends at the call of the last of the modules.
    """
    seen: dict[int, tuple[Any, Call]] = {}

    def record(module: nn.Module, arguments: tuple[Any, ...], call: Call) -> None:
        seen[id(module)] = arguments, call
        if len(seen) == len(modules):
            raise _StopForward

    handles = [module.register_forward_pre_hook(record, with_kwargs=True) for module in modules]
    try:
        forward()
    except _StopForward:
        return [seen[id(module)] for module in modules]
    finally:
        for handle in handles:
            handle.remove()
    raise AssertionError("the forward pass did not call all of the modules")


def inputs_of(modules: Sequence[nn.Module], forward: Callable[[], Any]) -> list[tuple[Tensor, ...]]:
    """Positional arguments of each module's call; see `calls_of`."""
    return [arguments for arguments, _ in calls_of(modules, forward)]
