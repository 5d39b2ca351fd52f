"""The knapsack against enumeration of every choice."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimgpt.planning import knapsack

LEVELS = st.lists(
    st.tuples(st.integers(0, 12), st.floats(0, 10, allow_nan=False)), min_size=1, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(modules=st.lists(LEVELS, min_size=1, max_size=4), budget=st.integers(0, 30))
def test_no_choice_of_that_cost_does_less_damage(
    modules: list[list[tuple[int, float]]], budget: int
) -> None:
    options = [[(0, 0.0), *levels] for levels in modules]
    costs = [[cost for cost, _ in levels] for levels in options]
    damages = [[damage for _, damage in levels] for levels in options]
    picks = knapsack.solve(costs, damages, budget)
    spent = sum(levels[pick] for levels, pick in zip(costs, picks, strict=True))
    lost = sum(levels[pick] for levels, pick in zip(damages, picks, strict=True))
    every = [
        (sum(cost for cost, _ in choice), sum(damage for _, damage in choice))
        for choice in product(*options)
    ]
    within = max(cost for cost, _ in every if cost <= budget)
    assert spent == within
    assert lost == pytest.approx(min(damage for cost, damage in every if cost == within))


def test_costs_that_are_large_are_counted_coarsely() -> None:
    """Costs without a common divisor, and a budget of a million of them."""
    costs = [[0, 1_000_003, 2_000_003], [0, 999_983, 1_999_957]]
    picks = knapsack.solve(costs, [[0.0, 1.0, 5.0], [0.0, 1.0, 5.0]], 2_000_000)
    assert picks == [1, 1]
