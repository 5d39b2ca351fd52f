"""The same with the artifacts in an object store, which fails too."""

from __future__ import annotations

import pytest

from tests.faults.judge import judge
from tests.faults.stack import Stack

pytestmark = pytest.mark.timeout(600)  # a service starts and is repaired, on a busy machine too


@pytest.mark.parametrize("name", ["store_cuts", "store_refuses", "store_hangs", "child_killed"])
def test_a_job_survives(stack_on_s3: Stack, clean: dict[str, str], name: str) -> None:
    verdict = judge(stack_on_s3, name, "sample", clean)
    assert verdict.violations == [], f"{verdict}\nlogs: {stack_on_s3.logs}"
