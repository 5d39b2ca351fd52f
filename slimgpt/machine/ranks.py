"""`Ranks`: the processes that compute a job together, one for each device.

All of them run the same function, each on its share of the batches, and meet in the collectives
below. The first rank is the process that yields events and writes files. For a process alone every
method is the identity, so that nothing else asks how many there are.

Gram matrices are summed into every rank. What is solved once is solved by one rank and sent to the
others, not by each for itself: kernels of different devices round differently, and two ranks that
keep different columns would go on with different models.
"""

from __future__ import annotations

import io
import itertools
import pickle
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from slimgpt.errors import RankError

POLL_SECONDS = 0.0005
PATIENCE_SECONDS = 1800.0
"""Longest wait of the first rank for the others in one collective."""
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


class Ranks:
    """One process's view of all.

    Args:
        device: where this process computes.
        rank: number of this process, from 0.
        size: number of processes.
    """

    patience = PATIENCE_SECONDS

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held by a process alone."""

    def together(
        self,
        function: Callable[Concatenate[Ranks, P], Generator[T, S, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Generator[T, S, R]:
        """Run a generator function in all processes; yields and returns what it does here.

        Args:
            function: importable by its name; every process calls the same collectives in it.
            args: can be pickled.
        """
        return function(self, *args, **kwargs)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's items, consecutive; the first rank has at least one."""
        first, last = (
            -(-len(items) * number // self.size) for number in (self.rank, self.rank + 1)
        )
        return items[first:last]

    def owns(self, number: int) -> bool:
        """Whether the task of that number is this rank's."""
        return number % self.size == self.rank

    def each(self, items: Sequence[T], function: Callable[[T], R]) -> list[R]:
        """The result of every item, each computed by one rank."""
        own = [function(item) if self.owns(number) else None for number, item in enumerate(items)]
        return self.exchange(own)  # type: ignore[arg-type]

    def exchange(self, values: Sequence[T]) -> list[T]:
        """Values of which each is known to the rank that owns its number."""
        return [self.broadcast(value, number % self.size) for number, value in enumerate(values)]

    def gather(self, values: Sequence[T]) -> list[T]:
        """The values of all ranks, in their order: of shares, those of the whole."""
        own: list[Any] = [values if self.owns(number) else None for number in range(self.size)]
        return list(itertools.chain.from_iterable(self.exchange(own)))

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors by their sums over all ranks."""
        if self.size > 1:
            for tensor in tensors:
                self._await(dist.all_reduce(tensor, async_op=True))

    def broadcast(self, value: T, owner: int = 0) -> T:
        """The owner's value; tensors in it arrive on this rank's device, or on the CPU."""
        if self.size == 1:
            return value
        raw, tensors = _packed(value) if owner == self.rank else (b"", [])
        length = torch.tensor(len(raw))
        self._send(length, owner)
        content = torch.frombuffer(bytearray(raw or int(length)), dtype=torch.uint8)
        self._send(content, owner)
        if owner == self.rank:
            for tensor in tensors:
                self._send(tensor, owner)
            return value
        received: T = _Unpickler(content, self.device, lambda one: self._send(one, owner)).load()
        return received

    def _send(self, tensor: Tensor, owner: int) -> None:
        self._await(dist.broadcast(tensor, owner, async_op=True))

    def _await(self, work: Any) -> None:
        """Wait for a collective.

        Raises:
            RankError: another rank has ended, or does not answer in time.
        """
        over = time.monotonic() + self.patience
        while not work.is_completed():
            self.check()
            if time.monotonic() > over:
                raise RankError(
                    f"a device does not answer for {self.patience:g} s",
                    hint="check the devices, and resume the job",
                )
            time.sleep(POLL_SECONDS)
        try:
            work.wait()
        except RuntimeError as error:
            self.explain(error)

    def check(self) -> None:
        """Raise the error of a rank that has ended; the first rank knows the others."""

    def explain(self, error: RuntimeError) -> None:
        """Raise what is known of a broken connection."""
        reason = str(error).splitlines()[0]
        raise RankError(f"the devices lost each other: {reason}", hint="resume the job") from error


def _packed(value: object) -> tuple[bytes, list[Tensor]]:
    """A value pickled without its tensors, and these in the order of their places."""
    pickler = _Pickler(raw := io.BytesIO())
    pickler.dump(value)
    return raw.getvalue(), pickler.tensors


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: object) -> tuple[torch.Size, torch.dtype, bool] | None:
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value.detach().contiguous())
        return value.shape, value.dtype, value.device.type == "cpu"


class _Unpickler(pickle.Unpickler):
    """Fills each tensor in its place, in the order in which `_Pickler` found them."""

    def __init__(
        self, content: Tensor, device: torch.device, fill: Callable[[Tensor], None]
    ) -> None:
        super().__init__(io.BytesIO(content.numpy().tobytes()))
        self._device, self._fill = device, fill

    def persistent_load(self, place: tuple[torch.Size, torch.dtype, bool]) -> Tensor:
        shape, dtype, host = place
        tensor = torch.empty(shape, dtype=dtype, device="cpu" if host else self._device)
        self._fill(tensor)
        return tensor
