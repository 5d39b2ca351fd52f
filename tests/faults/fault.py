"""`Fault`: something that is done to a job, and what may come of it. `FAULTS` holds all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.states import Status
from tests.faults.stack import Stack
from tests.faults.trial import Trial

SUCCEEDS = frozenset({Status.SUCCEEDED})
MAY_FAIL = frozenset({Status.SUCCEEDED, Status.FAILED})
MAY_BE_CANCELLED = frozenset({Status.SUCCEEDED, Status.CANCELLED})
OUTAGE_SECONDS = 1.5


@dataclass(frozen=True)
class Fault:
    """One of them.

    `ends`: how a job may end under it. `hurts_hints`: Redis suffers, so events may be missing.
    `hides_losses`: the reapers' logs may not name every lease that ran out.
    `lacks`: why it can't be done to this stack, or nothing.
    """

    do: Callable[[Trial], None]
    ends: frozenset[Status]
    hurts_hints: bool = False
    hides_losses: bool = False
    lacks: Callable[[Stack], str] = lambda stack: ""

    @property
    def name(self) -> str:
        """Its function's."""
        return self.do.__name__

    @property
    def meaning(self) -> str:
        """In a line, for tables."""
        return (self.do.__doc__ or "").split("\n", maxsplit=1)[0].rstrip(".")


FAULTS: dict[str, Fault] = {}


def fault(
    ends: frozenset[Status] = SUCCEEDS,
    *,
    hurts_hints: bool = False,
    hides_losses: bool = False,
    lacks: Callable[[Stack], str] = lambda stack: "",
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Put a function into `FAULTS`."""

    def register(do: Callable[[Trial], None]) -> Callable[[Trial], None]:
        FAULTS[do.__name__] = Fault(do, ends, hurts_hints, hides_losses, lacks)
        return do

    return register
