"""One decoder layer, run in two halves.

Attention half: `h + o_proj(context(norm(h)))`. FFN half: `h + down_proj(inner(norm(h)))`. Between
the halves the layer is cut: heads leave before the FFN sees the attention's output. The layer is
transformers' own class for the family, built at the layer's own sizes, so what is computed here is
what the published checkpoint computes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from slimgpt.checkpoints.families import Family


class Block:
    """A decoder layer on its device.

    Args:
        module: transformers' decoder layer, weights loaded.
        family: names of its parts.
    """

    def __init__(self, module: nn.Module, family: Family) -> None:
        self._family = family
        self._attention = module.get_submodule(family.attention)
        self._attention_norm = module.get_submodule(family.attention_norm)
        self._ffn = module.get_submodule(family.ffn)
        self._ffn_norm = module.get_submodule(family.ffn_norm)
        self._output = module.get_submodule(family.output)
        self._down = module.get_submodule(family.down)

    def attend(self, hidden: Tensor, call: dict[str, Any]) -> Tensor:
        """The attention half, (batch, seq, d_model) → the same.

        Args:
            hidden: residual stream (batch, seq, d_model), checkpoint dtype.
            call: the keyword arguments that the stock model gives its layers.
        """
        attended: Tensor = self._attention(self._attention_norm(hidden), **call)[0]
        return hidden + attended

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """The FFN half, (batch, seq, d_model) → the same."""
        fed: Tensor = self._ffn(self._ffn_norm(hidden))
        return hidden + fed

    def attention_inputs(self, hidden: Tensor, call: dict[str, Any]) -> Tensor:
        """Inputs of `o_proj`, (batch, seq, heads · head_dim); nothing beyond them is computed."""
        return _inputs_of(self._output, lambda: self.attend(hidden, call))

    def ffn_inputs(self, hidden: Tensor) -> Tensor:
        """Inputs of `down_proj`, (batch, seq, channels); nothing beyond them is computed."""
        return _inputs_of(self._down, lambda: self.feed_forward(hidden))


class _Reached(Exception):  # noqa: N818 - a signal, not an error
    """Raised at the watched module to end the forward pass there."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs


def _inputs_of(module: nn.Module, forward: Any) -> Tensor:
    def stop(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        raise _Reached(arguments[0])

    handle = module.register_forward_pre_hook(stop)
    try:
        forward()
    except _Reached as reached:
        return reached.inputs
    finally:
        handle.remove()
    raise AssertionError("the layer's forward pass never reached its last projection")
