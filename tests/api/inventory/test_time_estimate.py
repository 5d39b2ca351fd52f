"""A plan says how long its job may take, as far as finished jobs tell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.inventory.time_estimate import STARTING, estimate, work
from jobs.messages.expectation import Earlier
from jobs.store.lists.stage_times import earlier_jobs
from jobs.store.store import Store
from slimgpt.events import Planned
from slimgpt.spec.prune import PruneSpec

ROOT = Path(__file__).resolve().parents[3]


def spec(samples: int = 64, model: str = "local:a", **more: Any) -> PruneSpec:
    calibration = {"source": "c4", "samples": samples, "sequence_length": 128}
    given_all = {"model": model, "ratio": 0.25, "calibration": calibration, **more}
    return PruneSpec.model_validate(given_all)


def test_the_same_job_again_takes_as_long() -> None:
    history = [Earlier(spec(), {}, 1000, seconds) for seconds in (90.0, 100.0, 120.0)]
    found = estimate(spec(), 1000, history)
    assert (found.low, found.seconds, found.high) == (90.0, 100.0, 120.0)
    assert (found.basis, found.jobs) == ("same-model", 3)


def test_more_text_takes_longer_and_the_same_model_counts_first() -> None:
    history = [Earlier(spec(), {}, 1000, 100.0), Earlier(spec(model="local:b"), {}, 9, 10_000.0)]
    longer = estimate(spec(samples=640), 1000, history)
    assert longer.seconds > 100.0
    assert longer.jobs == 1
    assert estimate(spec(model="local:c"), 1000, history).basis == "other-models"


def test_without_a_finished_job_it_is_said_to_be_typical() -> None:
    found = estimate(spec(), 10**9, [])
    assert (found.basis, found.jobs) == ("typical", 0)
    assert STARTING / 2 < found.low < found.seconds < found.high


@given(st.integers(1, 512), st.integers(1, 512), st.integers(1, 10**11), st.floats(1, 1e6))
def test_more_work_is_never_said_to_be_faster(
    some: int, other: int, parameters: int, seconds: float
) -> None:
    few, many = sorted((some, other))
    history = [Earlier(spec(few), {}, parameters, seconds)]
    for known in (history, []):
        less, more = (estimate(spec(n), parameters, known) for n in (few, many))
        assert less.low <= more.low <= more.seconds <= more.high


def test_each_model_of_a_sweep_and_recovery_are_work() -> None:
    one, of_three = {}, {}
    for recipe in ("paper", "measured"):
        job = spec(recipe=recipe)
        one[recipe] = work(job, 1000)
        sweep = job.model_copy(update={"ratio": None, "ratios": (0.2, 0.3, 0.5)})
        of_three[recipe] = work(sweep, 1000)
    assert of_three["paper"] > 2 * one["paper"]
    assert one["measured"] < of_three["measured"] < 2 * one["measured"]  # of one survey
    assert work(spec(recovery={"samples": 1000}), 1000) > one["measured"]


SECONDS_OF = re.compile(
    r"^\| (?P<model>[\w.-]+) \| (?P<ratio>\d+)% \| (?P<recipe>paper|measured) \|.*"
    r"\| (?P<h200>[\d.,]+) \| (?P<a100>[\d.,]+) \|$",
    re.MULTILINE,
)


def test_recipes_differ_as_their_counted_operations_do() -> None:
    """By the seconds of docs/performance.md, which are counted from the sizes of every layer."""
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = {(row["model"], row["ratio"], row["recipe"]): row for row in SECONDS_OF.finditer(text)}
    calibration = {"source": "c4", "samples": 256, "sequence_length": 2048}
    paper, measured = (
        work(spec(recipe=recipe, calibration=calibration), 10**9)
        for recipe in ("paper", "measured")
    )
    assert len(rows) >= 16
    for model, ratio, _ in rows:
        for machine in ("h200", "a100"):
            times = [
                float(rows[model, ratio, recipe][machine].replace(",", ""))
                for recipe in ("measured", "paper")
            ]
            assert measured / paper == pytest.approx(times[0] / times[1], rel=0.2), model


@pytest.mark.parametrize("known", ["paper", None])
def test_a_measured_job_takes_two_to_four_times_a_paper_job(known: str | None) -> None:
    """Seen: SmolLM2 on 128 x 256 tokens, said to take as long as by the paper's recipe."""
    calibration = {"source": "c4", "samples": 128, "sequence_length": 256}
    jobs = [spec(recipe=recipe, calibration=calibration) for recipe in ("paper", "measured")]
    history = [Earlier(jobs[0], {}, 10**10, 1000.0)] if known else []
    paper, measured = (estimate(job, 10**10, history).seconds for job in jobs)
    assert 2.0 <= measured / paper <= 4.0
    halves = estimate(jobs[1].model_copy(update={"devices": 2}), 10**10, history).seconds
    assert 0.5 <= halves / measured < 0.6


def test_jobs_of_the_same_shape_are_asked_first() -> None:
    paper = [Earlier(spec(recipe="paper"), {}, 1000, 10.0) for _ in range(3)]
    measured = Earlier(spec(samples=32), {}, 1000, 100.0)
    found = estimate(spec(), 1000, [*paper, measured])
    assert (found.basis, found.jobs) == ("same-model", 1)
    assert 100.0 <= found.seconds <= 200.0
    quick = estimate(spec(recipe="paper"), 1000, [Earlier(spec(), {}, 1000, 100.0)])
    assert quick.seconds < 60.0


@pytest.mark.parametrize("attempts", [1, 2])
def test_durations_are_of_jobs_that_one_attempt_finished(store: Store, attempts: int) -> None:
    job = store.create(spec())
    for _ in range(attempts - 1):
        lost = store.claim(job.id, "worker")
        assert lost is not None
        assert store.engine_killed(job.id, lost.epoch, [])
    claim = store.claim(job.id, "worker")
    assert claim is not None
    planned = Planned(
        parameters_before=1000, parameters_after=750, ratio_achieved=0.25, layers=2,
        channel_multiple=32,
    )  # fmt: skip
    assert store.planned(job.id, claim.epoch, planned)
    assert earlier_jobs(store.engine) == []
    assert store.finish(job.id, claim.epoch, prefix="p", result={}, report={})
    found = earlier_jobs(store.engine)
    assert [(one.spec, one.parameters) for one in found] == [(spec(), 1000)] * (attempts == 1)
    assert all(0 <= one.seconds < 60 for one in found)
