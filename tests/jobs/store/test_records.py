"""The one duration of a job, and its stages."""

from __future__ import annotations

import pytest

from jobs.store.records import whole_stages

STAGES = {"start": 40.0, "prune": 20.0, "verify": 45.0, "publish": 5.0}


def test_the_commit_of_the_end_belongs_to_the_last_stage() -> None:
    found = whole_stages(STAGES, 110.25)
    assert found == {**STAGES, "publish": 5.25}


def test_what_came_before_the_attempt_is_named() -> None:
    found = whole_stages(STAGES, 200.0)
    assert found is not None
    assert found["earlier attempts"] == 90.0
    assert sum(found.values()) == 200.0


@pytest.mark.parametrize("stored", [None, {}, "torn", []])
def test_a_job_of_an_older_version_has_no_stages(stored: object) -> None:
    assert whole_stages(stored, 10.0) is None
    assert whole_stages(STAGES, None) is None
