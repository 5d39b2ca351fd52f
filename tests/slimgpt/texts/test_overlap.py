"""Shared runs of tokens, against a search that looks at every pair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slimgpt.texts.overlap import RUN, Seen

IDS = st.lists(st.integers(0, 2), max_size=40)


@given(known=st.lists(IDS, max_size=4), asked=IDS, run=st.integers(1, 8))
def test_runs_are_found_exactly(known: list[list[int]], asked: list[int], run: int) -> None:
    def runs(ids: list[int]) -> set[tuple[int, ...]]:
        return {tuple(ids[i : i + run]) for i in range(len(ids) - run + 1)}

    there = any(runs(ids) & runs(asked) for ids in known)
    assert Seen(known, run).shares(asked) == there


def test_a_run_at_any_place_counts() -> None:
    window = list(range(1000, 1128))
    seen = Seen([window])
    assert seen.shares([5] * 30 + window[17 : 17 + RUN] + [5] * 9)
    assert not seen.shares([5] * 30 + window[17 : 16 + RUN] + [5] * 9)


@given(known=st.lists(IDS, max_size=4), asked=IDS, run=st.integers(1, 8))
def test_covered_tokens_are_those_of_shared_runs(
    known: list[list[int]], asked: list[int], run: int
) -> None:
    there = {tuple(ids[i : i + run]) for ids in known for i in range(len(ids) - run + 1)}
    shared = [i for i in range(len(asked) - run + 1) if tuple(asked[i : i + run]) in there]
    expected = [any(i <= place < i + run for i in shared) for place in range(len(asked))]
    assert Seen(known, run).covers(asked).tolist() == expected
