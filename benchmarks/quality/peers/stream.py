"""`Stream`: the residual stream of calibration windows, taken through a model layer by layer.

Names end in their shape: N windows, S tokens of a window, B windows of a batch, D hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

TOGETHER = 8  # windows of a batch

Step = Callable[..., Tensor]
"""A layer, or a half of one: hidden (B, S, D) and the layer's keywords → hidden."""


class Stream:
    """What goes into the next layer, batch by batch; it changes as layers are run.

    Args:
        model: a decoder of transformers whose body is `model.model`.
        windows_NS: int64.
    """

    @torch.no_grad()
    def __init__(self, model: Any, windows_NS: Tensor) -> None:
        count = len(windows_NS)
        size = max(size for size in range(1, TOGETHER + 1) if count % size == 0)  # all alike
        batches = torch.split(windows_NS, size)
        self._calls = _calls(model, batches[0])
        self.batches_BSD = [model.model.embed_tokens(batch) for batch in batches]

    @torch.no_grad()
    def through(self, index: int, step: Step) -> list[Tensor]:
        """What a step of layer `index` makes of every batch."""
        return [step(hidden_BSD, **self._calls[index]) for hidden_BSD in self.batches_BSD]

    @torch.no_grad()
    def advance(self, index: int, step: Step) -> None:
        """Run a step of layer `index`; the stream is what comes out."""
        self.batches_BSD = self.through(index, step)


def _calls(model: Any, ids_BS: Tensor) -> list[dict[str, Any]]:
    """The keyword arguments that the model gives each of its layers for such a batch."""
    calls: list[dict[str, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        calls.append({key: value for key, value in keywords.items() if key != "hidden_states"})

    hooks = [
        layer.register_forward_pre_hook(note, with_kwargs=True) for layer in model.model.layers
    ]
    try:
        model.model(input_ids=ids_BS, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return calls
