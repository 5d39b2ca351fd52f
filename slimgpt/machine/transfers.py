"""`Transfers`: batches of activations travel between host and device while the device computes.

On a GPU the activation cache stays on the device if it takes at most `KEPT_SHARE` of the memory
that is free there. Otherwise it is in pinned host memory: the next batch arrives, and results
leave, in a stream of their own, and nothing waits before the last batch. Other devices than CUDA's
copy batch by batch; on a CPU nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from slimgpt.machine import memory

KEPT_SHARE = 0.25
"""The dense stream beside the pruned one takes as much again; the rest is for computing."""


class Transfers:
    """Moves batches to and from one device.

    Args:
        device: where batches are computed.
        streams: the module of torch with the device's streams; `torch.cuda` if unset on a GPU. If
            it is given, batches are copied on a CPU too.
    """

    def __init__(self, device: torch.device, streams: Any = None) -> None:
        self._device = device
        self._streams: Any = streams or (torch.cuda if device.type == "cuda" else None)
        self._stream: Any = self._streams and self._streams.Stream(device)

    def kept(self, batches: list[Tensor]) -> list[Tensor]:
        """The batches on the device if there is room, else as they are."""
        free = memory.free_bytes(self._device)
        if free is None or sum(batch.nbytes for batch in batches) > KEPT_SHARE * free:
            return batches
        return [batch.to(self._device) for batch in batches]

    def each(self, batches: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Every batch on the device with its position; the next one is copied meanwhile.

        What `back` returned is complete when the iterator is exhausted.
        """
        if not batches or not self._moves(batches[0]):
            for position, batch in enumerate(batches):
                yield position, batch.to(self._device)
            return
        arriving = self._fetch(batches[0])
        for position in range(len(batches)):
            hidden_BSD, arrived = arriving
            current = self._streams.current_stream(self._device)
            current.wait_event(arrived)
            if hidden_BSD.is_cuda:  # its memory is the copying stream's
                hidden_BSD.record_stream(current)
            if position + 1 < len(batches):
                arriving = self._fetch(batches[position + 1])
            yield position, hidden_BSD
        self._streams.synchronize(self._device)

    def back(self, hidden_BSD: Tensor, batch: Tensor) -> Tensor:
        """A result, to lie where the batch that it replaces lies.

        Its bytes are there when `each` is exhausted; before, only `each` may read it.
        """
        if not self._moves(batch):
            return hidden_BSD.to(batch.device)
        host_BSD = torch.empty_like(hidden_BSD, device="cpu", pin_memory=hidden_BSD.is_cuda)
        self._stream.wait_stream(self._streams.current_stream(self._device))
        with self._streams.stream(self._stream):
            host_BSD.copy_(hidden_BSD, non_blocking=True)
        if hidden_BSD.is_cuda:
            hidden_BSD.record_stream(self._stream)
        return host_BSD

    def _moves(self, batch: Tensor) -> bool:
        return self._streams is not None and batch.device.type == "cpu"

    def _fetch(self, batch: Tensor) -> tuple[Tensor, Any]:
        """A copy on the device, and the event of its arrival."""
        with self._streams.stream(self._stream):
            moved = batch.to(self._device, non_blocking=True, copy=True)
        return moved, self._stream.record_event()
