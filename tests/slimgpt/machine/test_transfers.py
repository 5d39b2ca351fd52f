"""Batches that travel give the same bits as batches that stay, however late they are copied."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.layers import perplexity
from slimgpt.layers.residual_target import DenseStream
from slimgpt.layers.sequence import prune_layer
from slimgpt.layers.stack import Stack
from slimgpt.machine import memory
from slimgpt.machine.transfers import Transfers
from slimgpt.methods import registry as methods
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny, tokens

CPU = torch.device("cpu")
SPEC = PruneSpec(model="local:x", ratio=0.3)


class LateStream:
    """A stream that copies nothing before somebody waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.queue: list[Callable[[], Any]] = []

    def record_event(self) -> Callable[[], None]:
        last = self.queue[-1]
        return lambda: self.run(last)

    def run(self, last: Callable[[], Any] | None = None) -> None:
        """What was queued, in its order, up to one of it."""
        while (self.queue and last is None) or last in self.queue:
            self.queue.pop(0)()

    def wait_stream(self, other: Any) -> None:
        """The other one computes at once."""


class Late(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies are queued; what they write to is NaN until then."""

    def __init__(self, stream: LateStream) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._queue = stream.queue

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default:
            target, source = torch.full_like(args[0], math.nan), args[0]
        elif func is torch.ops.aten.copy_.default:
            target, source = args[0].fill_(math.nan), args[1]
        else:
            return func(*args, **(kwargs or {}))
        self._queue.append(lambda: target.copy_(source))
        return target


class Streams:
    """As `torch.cuda`, of one device."""

    def __init__(self) -> None:
        self.made: list[LateStream] = []

    def Stream(self, device: torch.device) -> LateStream:  # noqa: N802 - torch's name
        self.made.append(LateStream(device))
        return self.made[-1]

    def stream(self, stream: LateStream) -> AbstractContextManager[Any]:
        return Late(stream)

    def current_stream(self, device: torch.device) -> Any:
        return self

    def wait_event(self, event: Callable[[], None]) -> None:
        event()

    def synchronize(self, device: torch.device) -> None:
        for stream in self.made:
            stream.run()


def test_results_come_back_and_batches_are_left_alone() -> None:
    transfers, batches = (
        Transfers(CPU, Streams()),
        [torch.full((2, 3, 4), x) for x in (1.0, 2.0, 3.0)],
    )
    before, kept = [*batches], [batch.clone() for batch in batches]
    for position, hidden_BSD in transfers.each(batches):
        assert hidden_BSD is not before[position]
        batches[position] = transfers.back(hidden_BSD * 2, batches[position])
        assert batches[position].isnan().all()  # it is under way
    assert [set(batch.flatten().tolist()) for batch in batches] == [{2}, {4}, {6}]
    assert all(map(torch.equal, before, kept))
    assert list(transfers.each([])) == []


def worked(folder: Path, token_ids: Tensor, spec: PruneSpec, streams: Any) -> list[Tensor]:
    """All that pruning and measuring give."""
    stack = Stack(Checkpoint.open(folder), CPU)
    stack.transfers = Transfers(CPU, streams)
    batches = stack.embed(token_ids)
    beside = DenseStream([*batches], spec.residual_target) if spec.residual_target else None
    found: list[Tensor] = []
    for index, whole in enumerate(stack.architecture.sizes):
        half = LayerSize(whole.heads // 2, whole.kv_heads // 2, 32)
        layer = prune_layer(stack, index, half, batches, methods.of(spec), dense_stream=beside)
        found += layer.tensors.values()
    found += [*batches, *(beside.batches if beside else ())]
    measured = perplexity.measure(stack, token_ids)
    while True:
        try:
            next(measured)
        except StopIteration as end:
            return [*found, torch.tensor(end.value.losses)]


@torch.no_grad()
@pytest.mark.parametrize("target", [0.0, 0.5])
@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_neox"])
def test_a_job_whose_batches_travel_gives_the_same_bits(
    family: str, target: float, tmp_path: Path
) -> None:
    model = Tiny(family, heads=4, kv_heads=4 if family == "gpt_neox" else 2)
    folder, token_ids = model.save(tmp_path / "model"), tokens(model, batch=24, length=512)
    spec = SPEC.model_copy(update={"residual_target": target or None})
    streams = Streams()
    found = worked(folder, token_ids, spec, streams)
    assert len(torch.split(token_ids, 8)) == 3
    assert all(map(torch.equal, found, worked(folder, token_ids, spec, None)))
    assert len(streams.made) == 1


def test_batches_stay_on_a_device_with_four_times_their_size_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = [torch.zeros(2, 4, 8), torch.zeros(1, 4, 8)]
    size = sum(batch.nbytes for batch in batches)
    transfers = Transfers(torch.device("meta"), Streams())
    for free, device in ((4 * size, "meta"), (4 * size - 1, "cpu"), (None, "cpu")):
        monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
        assert {batch.device.type for batch in transfers.kept(batches)} == {device}
    kept = [torch.zeros(1, 2, 3, device="meta")]
    for _, hidden_BSD in transfers.each(kept):  # nothing is copied any more
        assert transfers.back(hidden_BSD, kept[0]) is hidden_BSD is kept[0]
