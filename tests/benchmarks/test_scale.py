"""A short run: jobs go through real supervisors, and everything is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale.__main__ import measure
from tests.servers import postgres_binaries


@pytest.mark.skipif(postgres_binaries() is None, reason="no PostgreSQL")
def test_a_job_is_claimed_pruned_published_and_counted(tmp_path: Path) -> None:
    row, statements = measure(tmp_path, workers=1, layer_seconds=0.01, seconds=2, polls=5.0)
    assert row["jobs done"] > 0
    assert row["requests failed"] == row["deadlocks"] == 0
    zero = {"requests failed", "deadlocks", "most waiting for a lock", "Redis bytes kept a job"}
    # The only job may have been claimed before the counting began.
    counted = {name for name in row if name not in zero and not name.startswith("claim")}
    counted = {name for name in counted if "processor" not in name}
    assert [name for name in counted if not row[name] > 0] == []
    assert {one["role"] for one in statements} == {"api", "worker"}
