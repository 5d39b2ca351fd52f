"""Seeded shuffle that is identical on every machine and Python version.

Uses only `random.Random(seed).random()`, whose values Python guarantees for a seed. `shuffle`,
`randrange`, NumPy's `Generator` and torch's `randperm` have no such guarantee.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def below(count: int, generator: Random) -> int:
    """A random number in [0, count), from one draw."""
    return int(generator.random() * count)


def shuffled(count: int, generator: Random) -> Iterator[int]:
    """The numbers 0 … count − 1 in a shuffled order, one draw per number.

    A lazy Fisher-Yates shuffle from the front, which stores only moved numbers: the first thousand
    of a million cost a thousand steps.
    """
    moved: dict[int, int] = {}
    for place in range(count):
        pick = place + below(count - place, generator)
        here = moved.pop(place, place)
        if pick == place:
            yield here
        else:
            yield moved.get(pick, pick)
            moved[pick] = here
