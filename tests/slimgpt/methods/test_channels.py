"""FFN channel selection: group sizes, and g = 1 against one-at-a-time brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimgpt.methods import channels, obs
from tests.slimgpt.methods.test_obs import random_problem


def test_dynamic_groups_shrink_from_1024_to_8() -> None:
    remaining, sizes = 5504, []
    while remaining:
        sizes.append(channels.group_size(remaining, "dynamic"))
        remaining -= sizes[-1]
    assert sizes[0] == 1024
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) <= {1024, 512, 256, 128, 64, 32, 16, 8}
    assert sum(sizes) == 5504


@given(st.integers(1, 20000), st.one_of(st.just("dynamic"), st.integers(1, 4096)))
def test_a_group_is_never_more_than_what_remains(remaining: int, rule: str | int) -> None:
    size = channels.group_size(remaining, rule)  # type: ignore[arg-type]
    assert 1 <= size <= remaining


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_one_are_exact_greedy(seed: int) -> None:
    W, H = random_problem(seed, 12, 6, 100)
    order, _ = channels.prune_(W.clone(), obs.invert(H), channels.group_sizes(7, 1))
    expected: list[int] = []
    for _ in range(7):
        errors = {}
        for candidate in set(range(12)) - set(expected):
            kept = torch.tensor(sorted(set(range(12)) - {*expected, candidate}))
            change = -W.clone()
            change[:, kept] += obs.refit(W, H, kept)
            errors[candidate] = float(obs.quadratic(change, H))
        expected.append(min(errors, key=errors.__getitem__))
    assert order == expected


@pytest.mark.parametrize("rule", ["dynamic", 1, 5, 128])
def test_as_many_leave_as_asked_each_once(rule: str | int) -> None:
    W, H = random_problem(1, 40, 6, 200)
    order, _ = channels.prune_(W, obs.invert(H), channels.group_sizes(33, rule))  # type: ignore[arg-type]
    assert len(set(order)) == len(order) == 33
    assert not W[:, order].any()
