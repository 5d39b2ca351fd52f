"""The seeded order is a promise: the numbers below must never change."""

from __future__ import annotations

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from slimgpt.texts.seeded_order import below, shuffled


def test_golden_orders() -> None:
    assert list(shuffled(10, Random(0))) == [8, 7, 5, 4, 1, 3, 9, 2, 0, 6]
    assert list(islice(shuffled(356_317, Random(0)), 5)) == [300881, 270072, 149857, 92258, 182177]
    generator = Random(7)
    assert [below(1000, generator) for _ in range(5)] == [323, 150, 650, 72, 535]


@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_an_order_holds_every_number_once(count: int, seed: int) -> None:
    assert sorted(shuffled(count, Random(seed))) == list(range(count))


@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_it_is_fisher_and_yates(count: int, seed: int) -> None:
    generator, plain = Random(seed), list(range(count))
    for place in range(count):
        pick = place + int(generator.random() * (count - place))
        plain[place], plain[pick] = plain[pick], plain[place]
    assert list(shuffled(count, Random(seed))) == plain


def test_every_order_is_as_likely() -> None:
    generator = Random(1)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(shuffled(3, generator))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())  # 1000 ± 5 standard deviations
