"""Intervals contain what they estimate as often as they say, and shrink where windows agree."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slimgpt.report.bootstrap import intervals

WORDS = 127  # predicted tokens of a window


def windows(seed: int, count: int) -> tuple[list[float], list[float]]:
    """Losses of a dense and a pruned model: hard windows are hard for both, as in real text."""
    generator = np.random.default_rng(seed)
    hardness = generator.normal(3.0, 0.5, count)
    dense, pruned = hardness, hardness + generator.normal(0.25, 0.05, count)
    return list(dense * WORDS), list(pruned * WORDS)


@pytest.mark.parametrize("count", [16, 64])
def test_intervals_contain_the_truth_nineteen_times_of_twenty(count: int) -> None:
    hits = {"dense": 0, "ratio": 0}
    trials = 100
    for seed in range(trials):
        dense, pruned = windows(seed, count)
        perplexities, ratios = intervals({"dense": dense, "pruned": pruned}, WORDS)
        low, high = perplexities["dense"]
        hits["dense"] += low <= math.exp(3.0) <= high
        low, high = ratios["pruned"]
        hits["ratio"] += low <= math.exp(0.25) <= high
    assert all(0.87 <= hit / trials <= 0.99 for hit in hits.values()), hits


def test_the_ratio_is_known_better_than_the_perplexities_whose_windows_it_shares() -> None:
    dense, pruned = windows(0, 32)
    perplexities, ratios = intervals({"dense": dense, "pruned": pruned}, WORDS)
    widths = [math.log(high / low) for low, high in (*perplexities.values(), *ratios.values())]
    assert widths[2] < min(widths[:2]) / 4


def test_more_windows_tell_more_in_proportion_to_the_root_of_their_number() -> None:
    few, many = (
        intervals({"dense": windows(1, count)[0]}, WORDS)[0]["dense"] for count in (50, 5000)
    )
    assert math.log(few[1] / few[0]) / math.log(many[1] / many[0]) == pytest.approx(10, rel=0.25)


def test_windows_that_are_all_alike_leave_no_doubt_and_one_window_tells_nothing() -> None:
    (low, high) = intervals({"dense": [2.0 * WORDS] * 9}, WORDS)[0]["dense"]
    assert low == pytest.approx(math.exp(2.0)) == high
    assert intervals({"dense": [1.0], "pruned": [2.0]}, WORDS) == ({}, {})


def test_an_interval_is_the_same_each_time() -> None:
    dense, pruned = windows(3, 20)
    given = {"dense": dense, "pruned": pruned}
    assert intervals(given, WORDS) == intervals(given, WORDS)
