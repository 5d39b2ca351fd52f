"""A sample of faults, each at a moment that its seed decides; `benchmarks.faults` does hundreds."""

from __future__ import annotations

import pytest

from tests.faults.faults import FAULTS
from tests.faults.judge import judge
from tests.faults.stack import Stack

pytestmark = pytest.mark.timeout(600)  # a service starts and is repaired, on a busy machine too

# Workers that start twice; what comes by chance; what `cancelled` covers.
LEFT_TO_THE_BENCHMARK = {"clock_wrong", "storm", "cancelled_at_work"}
SAMPLE = [n for n in FAULTS if n not in LEFT_TO_THE_BENCHMARK and not n.startswith("store_")]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_job_survives(stack: Stack, clean: dict[str, str], name: str) -> None:
    if reason := FAULTS[name].lacks(stack):
        pytest.skip(reason)
    verdict = judge(stack, name, "sample", clean)
    assert verdict.violations == [], f"{verdict}\nlogs: {stack.logs}"
