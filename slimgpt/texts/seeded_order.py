"""Seeded shuffle that is identical on every machine and Python version.

Only `random.Random(seed).random()` is used: Python promises that the Mersenne Twister's floats
stay the same for the same seed. `shuffle`, `randrange`, NumPy's `Generator` and torch's
`randperm` promise nothing of the kind, and may draw otherwise in a later version.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def below(count: int, generator: Random) -> int:
    """A number in [0, count), one draw."""
    return int(generator.random() * count)


def shuffled(count: int, generator: Random) -> Iterator[int]:
    """The numbers 0 … count − 1 in a shuffled order, one draw for each that is taken.

    Fisher and Yates' shuffle from the front, which notes only what has moved: taking the first
    thousand of a million costs a thousand steps.
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
