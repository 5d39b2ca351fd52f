"""Learning rates and step counts against their definitions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from slimgpt.recovery.decision import StepTimes, batch_within, steps_of, steps_within
from slimgpt.recovery.schedule import Schedule


def test_it_is_half_a_cosine_from_the_rate_to_zero() -> None:
    schedule = Schedule(0.5, 40)
    rates = [schedule.at(step) for step in range(40)]
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * n / 40)) for n in range(40)])


def test_it_warms_up_in_a_line() -> None:
    schedule = Schedule(1.0, 50, warmup=4)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@settings(deadline=None)
@given(
    st.integers(20, 400),
    st.integers(0, 19),
    st.lists(st.floats(0.05, 0.95), min_size=1, max_size=3),
)
def test_a_cut_changes_nothing_before_it_and_falls_to_zero_after_it(
    steps: int, warmup: int, cuts: list[float]
) -> None:
    whole = schedule = Schedule(1.0, steps, warmup)
    at = 0
    for share in cuts:
        if schedule.steps - at < 2:  # nothing is left to be cut
            break
        at += max(1, int((schedule.steps - at) * share))
        schedule = schedule.cut(at, max(at + 1, schedule.steps - int((schedule.steps - at) * 0.3)))
    assume(schedule.cuts and schedule.steps > warmup)
    first = schedule.cuts[0][0]
    assert [schedule.at(n) for n in range(first + 1)] == [whole.at(n) for n in range(first + 1)]
    rates = [schedule.at(step) for step in range(warmup, schedule.steps)]
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert schedule.at(schedule.steps) == pytest.approx(0.0, abs=1e-12)


@settings(deadline=None)
@given(
    sequences=st.integers(1, 3000),
    share=st.floats(0, 1),
    batch=st.integers(1, 64),
    seconds=st.floats(1, 10_000),
    teacher=st.floats(0, 2),
)
def test_the_steps_that_are_counted_fit_and_one_more_does_not(
    sequences: int, share: float, batch: int, seconds: float, teacher: float
) -> None:
    times = StepTimes(sequence=1.0, teacher=teacher, measurement=2.0)
    asked = int(sequences * share)

    def takes(steps: int) -> float:
        unasked = max(0, min(sequences, steps * batch) - asked)
        return steps * batch * 1.0 + unasked * teacher + 3 * 2.0

    steps = steps_within(seconds, times, batch, sequences=sequences, asked=asked, measurements=3)
    allowed = seconds * 0.97
    assert steps == 1 or takes(steps) <= allowed + 1e-6
    assert takes(steps + 1) > allowed - batch * teacher - 1e-6


def test_the_batch_is_the_largest_that_leaves_steps_enough() -> None:
    for seconds, batch in ((100, 4), (2048, 8), (2047, 4), (256 * 64, 64), (10**6, 64)):
        assert batch_within(seconds, StepTimes(sequence=0.75, teacher=0.25)) == batch


def test_steps_are_whole_batches_of_all_passes() -> None:
    assert steps_of(130, 64, 1.0) == 3
    assert steps_of(130, 64, 2.5) == 8
    assert steps_of(3, 64, 0.1) == 1
