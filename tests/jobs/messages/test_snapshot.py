"""Percent and time left over a whole job, of which the end is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.messages.expectation import Earlier, expectations
from jobs.messages.snapshot import LEAST_SECONDS, Snapshot, advance, aged, begun, of_json
from jobs.messages.snapshot import fields as stored
from slimgpt.events import Event, Stage, StageFinished, StageStarted
from slimgpt.events import Progress as Counted
from slimgpt.spec.prune import PruneSpec
from tests.jobs.conftest import PLAN, layer

BEGAN = datetime(2026, 11, 30, tzinfo=UTC)
SPEC = PruneSpec.model_validate(
    {"model": "local:tiny", "ratio": 0.2, "calibration": {"source": "c4", "samples": 64}}
)
SECONDS: dict[str, float] = {
    "start": 40.0, "resolve": 6.0, "plan": 2.0, "prune": 20.0, "evaluate": 8.0, "verify": 45.0,
    "publish": 9.0,
}  # fmt: skip
"""As seen on a small model: its layers pass in no time, the rest does not."""


class Moment(NamedTuple):
    at: float
    event: Event


def story(seconds: dict[str, float]) -> Iterator[Moment]:
    """The events of a job with four layers whose stages take so long."""
    at = 0.0
    for name, took in seconds.items():
        stage: Stage = name  # type: ignore[assignment]
        yield Moment(at, StageStarted(stage=stage))
        if stage == "start":
            yield Moment(at + took / 2, Counted(stage="start", done=1, total=4, what="importing x"))
        if stage == "plan":
            yield Moment(at + took / 2, PLAN)
        if stage == "prune":
            for index in range(4):
                done = at + took * (index + 1) / 4
                yield Moment(done, layer(index, seconds=took / 4))
        if stage == "evaluate":
            for share in (0.5, 1.0):  # and drift comes after the last count
                count = Counted(stage="evaluate", done=int(share * 10), total=10)
                yield Moment(at + 0.6 * took * share, count)
        at += took
        yield Moment(at, StageFinished(stage=stage, seconds=took))


def told(seconds: dict[str, float], first: Snapshot) -> list[tuple[float, Snapshot]]:
    """What is told at every event; between them it is aged, as a heartbeat does."""
    found, snapshot = [], first
    for moment in story(seconds):
        when = BEGAN + timedelta(seconds=moment.at)
        snapshot = advance(snapshot, moment.event, when)
        found.append((moment.at, snapshot))
        snapshot = aged(snapshot, when + timedelta(seconds=0.001))
    return found


def test_a_job_like_an_earlier_one_knows_its_time_from_the_start_to_the_end() -> None:
    expected = expectations(SPEC, [Earlier(SPEC, SECONDS)])
    whole = sum(SECONDS.values())
    for at, snapshot in told(SECONDS, begun(expected, BEGAN)):
        if snapshot.percent == 100.0:
            assert at == whole
            continue
        assert snapshot.eta_seconds is not None, snapshot.stage
        assert snapshot.eta_seconds == pytest.approx(whole - at, rel=0.12, abs=2.5), snapshot.stage
        assert snapshot.percent == pytest.approx(100 * at / whole, abs=3.0)


def test_verification_and_publication_are_not_forgotten_without_any_earlier_job() -> None:
    whole = sum(SECONDS.values())
    layers = sum(SECONDS[name] for name in ("start", "resolve", "plan", "prune"))
    seen = told(SECONDS, begun(expectations(SPEC), BEGAN))
    assert all(one.eta_seconds is None for at, one in seen if at < SECONDS["start"])
    for at, snapshot in seen:
        if layers <= at < whole:
            assert snapshot.eta_seconds is not None
            # A fresh process imports what the start imported: that much surely remains.
            ahead = snapshot.stage in ("prune", "evaluate")
            surely = SECONDS["start"] if ahead else LEAST_SECONDS
            assert snapshot.eta_seconds >= surely, (snapshot.stage, at)


def test_what_takes_longer_than_expected_is_never_about_to_end() -> None:
    quick = {name: seconds / 20 for name, seconds in SECONDS.items()}
    expected = expectations(SPEC, [Earlier(SPEC, quick)])
    for at, snapshot in told(SECONDS, begun(expected, BEGAN)):
        if snapshot.percent < 100.0:
            assert snapshot.eta_seconds is not None
            assert snapshot.eta_seconds >= LEAST_SECONDS, at
    late = advance(begun(expected, BEGAN), StageStarted(stage="verify"), BEGAN)
    hours = aged(late, BEGAN + timedelta(hours=1))
    assert hours.eta_seconds is not None
    assert hours.eta_seconds > 300


def test_percent_never_falls_whatever_happens() -> None:
    for expected in (expectations(SPEC), expectations(SPEC, [Earlier(SPEC, SECONDS)])):
        percents = [one.percent for _, one in told(SECONDS, begun(expected, BEGAN))]
        assert percents == sorted(percents)
        assert percents[-1] == 100.0


DURATIONS = st.fixed_dictionaries(dict.fromkeys(SECONDS, st.floats(0.1, 5000.0)))


def aged_between(seconds: dict[str, float], first: Snapshot, tick: float) -> Iterator[Snapshot]:
    """Every snapshot of a job, aged some times between its events."""
    snapshot, at = first, 0.0
    for moment in story(seconds):
        step = max(tick, (moment.at - at) / 6)
        while at + step < moment.at:
            at += step
            snapshot = aged(snapshot, BEGAN + timedelta(seconds=at))
            yield snapshot
        at = moment.at
        snapshot = advance(snapshot, moment.event, BEGAN + timedelta(seconds=at))
        yield snapshot


@settings(max_examples=60, deadline=None)
@given(DURATIONS, DURATIONS, st.booleans(), st.floats(0.1, 60.0))
def test_percent_and_time_left_whatever_was_expected(
    took: dict[str, float], before: dict[str, float], known: bool, tick: float
) -> None:
    expected = expectations(SPEC, [Earlier(SPEC, before)] if known else [])
    last = begun(expected, BEGAN)
    names = [*SECONDS]
    for now in aged_between({name: took[name] for name in names}, last, tick):
        assert last.percent <= now.percent <= 100.0
        assert (now.percent == 100.0) == ("publish" in now.took)
        assert now.stage is not None
        assert now.updated_at is not None
        ahead = names[names.index(now.stage) + 1 :]
        if known and now.percent < 100.0:
            assert now.eta_seconds is not None
        if now.eta_seconds is not None:
            later = ahead if known else [one for one in ahead if one in ("resolve", "publish")]
            surely = sum(expected[one].seconds or 0.0 for one in later)
            assert now.eta_seconds >= max(LEAST_SECONDS, surely - 0.05)
            if now.percent > last.percent:  # what it gains it has: never more than its time
                elapsed = (now.updated_at - BEGAN).total_seconds()
                assert now.percent <= 100 * elapsed / (elapsed + now.eta_seconds) + 1e-9
        last = now
    assert last.percent == 100.0


@pytest.mark.parametrize("stage", ["start", "resolve", "verify"])
@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 1000.0), st.floats(0.1, 1000.0))
def test_a_stage_that_overruns_gets_its_share_and_no_more(
    stage: Stage, expected: float, slower: float
) -> None:
    """Seen: the start at 55% of a job, of which it was expected to be a tenth."""
    planned = SECONDS | {stage: expected}
    names = [*SECONDS]
    rest = sum(planned[one] for one in names[names.index(stage) + 1 :])
    job = replace(begun(expectations(SPEC, [Earlier(SPEC, planned)]), BEGAN), stage="none yet")
    first = last = advance(job, StageStarted(stage=stage), BEGAN)
    share = (100.0 - first.percent) * expected / (expected + rest)
    grew = []
    for number in range(1, 50):
        at = expected * slower * number / 50
        now = aged(last, BEGAN + timedelta(seconds=at))
        assert now.percent <= first.percent + share + 1.0
        assert now.eta_seconds is not None
        assert last.eta_seconds is not None
        if now.eta_seconds > last.eta_seconds:
            grew.append(at)
        last = now
    assert all(at > expected for at in grew)
    assert len(grew) <= max(0.0, math.log2(slower)) + 1


def test_time_is_counted_down_while_a_layer_is_pruned() -> None:
    snapshot = begun(expectations(SPEC, [Earlier(SPEC, SECONDS)]), BEGAN)
    for event in (StageStarted(stage="prune"), PLAN, layer(0, seconds=100.0)):
        snapshot = advance(snapshot, event, BEGAN)
    rest = SECONDS["evaluate"] + SECONDS["verify"] + SECONDS["publish"]
    for after, left in ((0, 300.0), (60, 240.0), (100, 210.0), (500, 210.0)):
        now = aged(snapshot, BEGAN + timedelta(seconds=after))
        assert now.eta_seconds == pytest.approx(left + rest)


def test_more_work_is_expected_to_take_longer_in_proportion() -> None:
    more = PruneSpec.model_validate(
        {"model": "local:tiny", "ratio": 0.2, "formats": ["gguf"],
         "calibration": {"source": "c4", "samples": 256}}
    )  # fmt: skip
    expected = expectations(more, [Earlier(SPEC, SECONDS)])
    assert expected["prune"].seconds == 4 * SECONDS["prune"]
    assert expected["verify"].seconds == 2 * SECONDS["verify"]
    assert expected["start"].seconds == SECONDS["start"]
    other = expectations(more.model_copy(update={"model": "local:other"}), [Earlier(SPEC, SECONDS)])
    assert (other["start"].seconds, other["prune"].seconds) == (SECONDS["start"], None)


def test_the_start_says_what_it_does() -> None:
    steps = [one.step for at, one in told(SECONDS, begun(expectations(SPEC), BEGAN)) if at < 40]
    assert "importing x" in steps


def test_a_snapshot_survives_its_storage() -> None:
    snapshot = told(SECONDS, begun(expectations(SPEC, [Earlier(SPEC, SECONDS)]), BEGAN))[8][1]
    assert of_json(stored(snapshot)["snapshot"]) == snapshot
