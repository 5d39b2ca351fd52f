"""What is expected of stages that have not shown their own pace, and of the survey that has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jobs.messages import workload
from jobs.messages.expectation import PROOF, Earlier, Expectation, expectations
from jobs.messages.snapshot import Snapshot, advance, aged, begun, of_json
from jobs.messages.snapshot import fields as stored
from slimgpt.events import SURVEY, StageFinished, StageStarted
from slimgpt.events import Progress as Counted
from slimgpt.planning import forecast
from slimgpt.spec.prune import PruneSpec
from tests.jobs.conftest import PLAN, layer
from tests.jobs.messages.test_snapshot import BEGAN, SECONDS


def spec(samples: int = 64, **more: Any) -> PruneSpec:
    calibration = {"source": "c4", "samples": samples, "sequence_length": 2048}
    return PruneSpec.model_validate(
        {"model": "local:tiny", "ratio": 0.2, "calibration": calibration, **more}
    )


def after_start(expected: dict[str, Expectation], seconds: float) -> Snapshot:
    """A job whose start took so long, and whose layers are done."""
    now = BEGAN + timedelta(seconds=seconds)
    snapshot = begun(expected, BEGAN)
    for event in (
        StageFinished(stage="start", seconds=seconds), StageStarted(stage="prune"), PLAN,
        *(layer(index, seconds=1.0) for index in range(4)), StageStarted(stage="evaluate"),
    ):  # fmt: skip
        snapshot = advance(snapshot, event, now)
    return snapshot


@pytest.mark.parametrize("formats", [[], ["padded", "gguf"]])
def test_a_start_that_imported_nothing_says_nothing_of_proofs(formats: list[str]) -> None:
    """An engine that waits starts in a second; each proof's process still imports torch."""
    job, proofs = spec(formats=formats), 1 + len(formats)
    cold, warm = (after_start(expectations(job), seconds).eta_seconds for seconds in (40.0, 1.0))
    assert cold is not None
    assert cold >= 40.0 * proofs
    assert warm is not None
    assert warm >= PROOF * proofs

    elsewhere = job.model_copy(update={"model": "local:other", "formats": ("padded",)})
    known = [Earlier(elsewhere, {"start": 1.0, "verify": 2 * 12.0})]
    eta = after_start(expectations(job, known), 1.0).eta_seconds
    assert eta is not None
    assert eta >= 12.0 * proofs
    assert eta < 13.0 * proofs + 10


def surveying(expected: dict[str, Expectation], share: float, seconds: float) -> Snapshot:
    """A survey of ten layers that has come so far after so many seconds, and a second of tries."""
    snapshot = begun(expected, BEGAN)
    snapshot = advance(snapshot, StageFinished(stage="start", seconds=0.0), BEGAN)
    snapshot = advance(snapshot, StageStarted(stage="plan"), BEGAN)
    tried = Counted(stage="plan", done=10, total=10, what="the dense model on one sequence")
    snapshot = advance(snapshot, tried, BEGAN + timedelta(seconds=1))
    for done in range(round(share * 10) + 1):
        at = BEGAN + timedelta(seconds=1 + seconds * done / (share * 10))
        snapshot = advance(snapshot, Counted(stage="plan", done=done, total=10, what=SURVEY), at)
    return snapshot


@pytest.mark.parametrize("slower", [0.2, 1.0, 5.0])
def test_a_survey_shows_its_own_pace(slower: float) -> None:
    expected = expectations(spec(), [Earlier(spec(), SECONDS | {"plan": 100.0})])
    rest = sum(SECONDS[stage] for stage in ("prune", "evaluate", "verify", "publish"))
    snapshot = surveying(expected, 0.5, 50 * slower)
    assert snapshot.eta_seconds == pytest.approx(50 * slower + rest, abs=5.0)
    assert of_json(stored(snapshot)["snapshot"]) == snapshot
    now = BEGAN + timedelta(seconds=1 + 50 * slower)
    later = aged(snapshot, now + timedelta(seconds=4 * slower))
    assert later.eta_seconds == pytest.approx(46 * slower + rest, abs=5.0)
    stuck = aged(snapshot, now + timedelta(hours=1))  # four layers are behind the present one
    assert stuck.eta_seconds is not None
    assert stuck.eta_seconds > 40 * slower + rest


def test_a_job_that_was_only_tried_is_not_taken_for_surveyed() -> None:
    """The try of the dense model on one sequence counts the same layers in no time."""
    expected = expectations(spec(), [Earlier(spec(), SECONDS | {"plan": 100.0})])
    snapshot = advance(begun(expected, BEGAN), StageStarted(stage="plan"), BEGAN)
    tried = Counted(stage="plan", done=9, total=10, what="the dense model on one sequence")
    snapshot = advance(snapshot, tried, BEGAN + timedelta(seconds=1))
    assert snapshot.eta_seconds is not None
    assert snapshot.eta_seconds > 99.0


def test_a_survey_takes_longer_on_more_text() -> None:
    took = SECONDS | {"plan": 100.0}
    found = expectations(spec(256), [Earlier(spec(64), took)])["plan"].seconds
    assert found is not None
    assert 300.0 < found <= 400.0  # its probes are the same
    plain = spec(256, recipe="paper"), spec(64, recipe="paper")
    assert expectations(plain[0], [Earlier(plain[1], took)])["plan"].seconds == 100.0


@pytest.mark.parametrize(
    "other",
    [{"devices": 2}, {"residual_target": 0.0}, {"recipe": "paper"}, {"method": "wanda-sp"}],
    ids=str,
)
def test_only_jobs_that_compute_alike_tell_of_plan_and_prune(other: dict[str, Any]) -> None:
    expected = expectations(spec(), [Earlier(spec(**other), SECONDS)])
    assert (expected["plan"].seconds, expected["prune"].seconds) == (None, None)
    same = expectations(spec(**other), [Earlier(spec(**other), SECONDS)])
    assert (same["plan"].seconds, same["prune"].seconds) == (SECONDS["plan"], SECONDS["prune"])


@pytest.mark.parametrize(("job", "surveys"), [
    ({}, True), ({"recipe": "paper"}, False), ({"method": "flap"}, True),
    ({"method": "flap", "schedule": {"shape": "log"}}, True), ({"method": "magnitude"}, False),
])  # fmt: skip
def test_a_plan_of_unknown_length_is_one_with_a_survey(job: dict[str, Any], surveys: bool) -> None:
    assert (workload.surveying(spec(**job)) > 0) == surveys
    assert (expectations(spec(**job))["plan"].seconds is None) == surveys


def test_a_recovery_that_is_given_its_time_takes_that() -> None:
    sweep = spec(ratio=None, ratios=[0.2, 0.3], recovery={"minutes": 30})
    assert expectations(sweep)["recover"].seconds == 2 * 30 * 60
    assert expectations(spec(recovery={}))["recover"].seconds is None


def test_the_probes_are_those_of_the_engine() -> None:
    assert (workload.PROBES, workload.PROBE_TOKENS) == (forecast.PROBES, forecast.PROBE_TOKENS)
