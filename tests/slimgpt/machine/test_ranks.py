"""Processes that compute together: what each knows after a collective; what errors become."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from slimgpt.errors import NumericalError, RankError, SpecError
from slimgpt.machine import rank_processes, threads
from slimgpt.machine.rank_processes import FirstRank
from slimgpt.machine.ranks import Ranks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pair:
    """Tensors within an object, one of them a view."""

    words: str
    half: Tensor
    turned: Tensor


def pair(number: int) -> Pair:
    columns = torch.arange(6).view(2, 3) + number
    return Pair(f"the {number}th", torch.full((3,), number + 0.5, dtype=torch.bfloat16), columns.T)


def meet(ranks: Ranks) -> Generator[Any, None, None]:
    """Every collective once."""
    own = torch.full((2, 2), ranks.rank + 1.0, dtype=torch.float64)
    count = torch.tensor(ranks.rank)
    ranks.sum_(own, count)
    yield own, int(count)
    yield ranks.gather(ranks.share(range(7)))
    yield ranks.each(range(5), lambda number: (pair(number), os.getpid()))
    yield ranks.broadcast(pair(ranks.rank), ranks.size - 1)


def fail(ranks: Ranks) -> Generator[int, None, None]:
    if ranks.rank == 1:
        raise NumericalError("layer 3: the Hessian is not positive definite", hint="more tokens")
    yield 1
    ranks.sum_(torch.ones(1))


def add(ranks: Ranks) -> Generator[Tensor, None, None]:
    for _ in range(2):
        one = torch.ones(1)
        ranks.sum_(one)
        yield one


@pytest.fixture
def two() -> Iterator[FirstRank]:
    with FirstRank(CPU, 2) as ranks:
        yield ranks


def assert_alike(found: Pair, expected: Pair) -> None:
    assert found.words == expected.words
    assert torch.equal(found.half, expected.half)
    assert torch.equal(found.turned, expected.turned)


def test_each_rank_knows_what_all_have_found() -> None:
    with FirstRank(CPU, 3) as three:
        (summed, count), gathered, each, last = three.together(meet)
        processes = [other.process for other in three._others]
    assert torch.equal(summed, torch.full((2, 2), 6.0, dtype=torch.float64))
    assert count == 3
    assert gathered == list(range(7))
    for number, (value, process) in enumerate(each):
        assert_alike(value, pair(number))
        assert process == [os.getpid(), *(other.pid for other in processes)][number % 3]
    assert_alike(last, pair(2))
    assert all(process.poll() is not None for process in processes)


def test_alone_every_collective_is_the_identity() -> None:
    (summed, count), gathered, each, last = Ranks(CPU).together(meet)
    assert torch.equal(summed, torch.ones(2, 2, dtype=torch.float64))
    assert count == 0
    assert gathered == list(range(7))
    assert [value.words for value, _ in each] == [pair(number).words for number in range(5)]
    assert_alike(last, pair(0))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [1, 3, 5, 12])
def test_shares_are_consecutive_and_even_and_the_first_is_not_empty(size: int, items: int) -> None:
    shares = [list(Ranks(CPU, rank, size).share(range(items))) for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(items))
    assert shares[0]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_error_of_another_rank_is_raised_here(two: FirstRank) -> None:
    with pytest.raises(NumericalError, match="layer 3") as caught:
        list(two.together(fail))
    assert caught.value.hint == "more tokens"


def test_a_rank_that_dies_is_noticed(two: FirstRank) -> None:
    work = two.together(add)
    assert float(next(work)) == 2
    two._others[0].process.send_signal(signal.SIGKILL)
    with pytest.raises(RankError, match=r"the process of device cpu ended \(SIGKILL\)"):
        list(work)


def test_a_rank_that_hangs_is_noticed(two: FirstRank) -> None:
    work = two.together(add)
    next(work)
    two._others[0].process.send_signal(signal.SIGSTOP)
    two.patience = 0.5
    with pytest.raises(RankError, match=r"does not answer for 0\.5 s"):
        list(work)


@pytest.mark.parametrize(
    ("device", "devices", "words"),
    [
        ("cpu", 3, "3 were asked for, this machine has 2 cores of a CPU; ask for at most 2"),
        ("cpu:0", 2, "2 devices cannot be cpu:0 alone"),
    ],
)
def test_more_devices_than_there_are_are_refused(
    device: str, devices: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "available", lambda: 2)
    with pytest.raises(SpecError, match=words):
        rank_processes.opened(device, devices)
