"""A row of a list is of one model, or a range over several. On both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from jobs.store.lists.order import Order, SortKey
from jobs.store.lists.stage_times import earlier_jobs
from jobs.store.store import Store
from jobs.store.tables import JOBS
from slimgpt.events import Perplexity, Planned, Result, ResultPoint
from slimgpt.spec.planned_sizes import PlannedPoint
from tests.jobs.conftest import SPEC

PERPLEXITIES = {0.2: 8.23, 0.5: 37.6}
LEFT = {0.2: 208_000, 0.5: 130_000}
STAGES = {"start": 40.0, "prune": 20.0, "verify": 45.0, "publish": 5.0}


def perplexity(value: float) -> dict[str, Any]:
    text = {"text": "held-out", "sequence_length": 128, "tokens": 2032}
    return Perplexity(**text, dense=4.56, pruned=value).model_dump()


def sweep(**changes: Any) -> Result:
    """As the engine says it: sizes of the smallest model, perplexities of the first one first."""
    points = [
        ResultPoint(
            ratio=ratio, folder=f"ratio-{ratio}", parameters_after=LEFT[ratio],
            ratio_achieved=ratio, verdict="", perplexity=perplexity(value),
        )
        for ratio, value in PERPLEXITIES.items()
    ]  # fmt: skip
    return Result(
        parameters_before=260_000, parameters_after=130_000, ratio_achieved=0.5,
        seconds=110.0, stages=STAGES, peak_memory_bytes=1, points=points,
        perplexity=[perplexity(value) for value in PERPLEXITIES.values()],
    ).model_copy(update=changes)  # fmt: skip


def finished(store: Store, result: Result) -> str:
    job = store.create(SPEC)
    claim = store.claim(job.id, "tester")
    assert claim is not None
    planned = Planned(
        parameters_before=260_000, parameters_after=130_000, ratio_achieved=0.5, layers=8,
        channel_multiple=32,
        points=[
            PlannedPoint(ratio=ratio, parameters_after=left, bytes_after=4 * left,
                         ratio_achieved=ratio, channel_multiple=32)
            for ratio, left in LEFT.items()
        ],
    )  # fmt: skip
    assert store.planned(job.id, claim.epoch, planned)
    told = result.model_dump()
    assert store.finish(job.id, claim.epoch, prefix="p", result=told, report={})
    return job.id


def test_a_sweep_has_the_size_and_the_perplexity_of_one_model_and_those_of_each(
    store: Store,
) -> None:
    """Seen: 130K parameters of the smallest model beside the perplexity 8.23 of the first."""
    finished(store, sweep())
    (row,) = store.list().items
    assert row.result is not None
    assert row.plan is not None
    assert row.result["parameters_after"] == 130_000
    assert [one["pruned"] for one in row.result["perplexity"]] == [37.6]
    models = [(p["parameters_after"], p["perplexity"]["pruned"]) for p in row.result["points"]]
    assert models == [(208_000, 8.23), (130_000, 37.6)]
    assert "verdict" not in row.result["points"][0]
    assert [point["parameters_after"] for point in row.plan["points"]] == [208_000, 130_000]


def test_a_sweep_of_an_older_version_shows_no_perplexity_of_another_model(store: Store) -> None:
    old = [point.model_copy(update={"perplexity": None}) for point in sweep().points]
    finished(store, sweep(points=old))
    (row,) = store.list().items
    assert row.result is not None
    assert row.result["perplexity"] == []


def test_one_model_is_listed_with_its_own(store: Store) -> None:
    finished(store, sweep(points=[], perplexity=[perplexity(8.23)]))
    (row,) = store.list().items
    assert row.result is not None
    assert (row.result["points"], row.result["perplexity"][0]["pruned"]) == ([], 8.23)


def test_lists_sort_by_the_perplexity_that_they_show(store: Store) -> None:
    """Seen: a sweep by its first model's, and a model that recovery made worse by the recovered."""
    worse = perplexity(8.23) | {"recovered": 90.0}
    better = perplexity(50.0) | {"recovered": 4.6}
    made = {
        finished(store, sweep()): 37.6,
        finished(store, sweep(points=[], perplexity=[worse])): 8.23,
        finished(store, sweep(points=[], perplexity=[better], published="recovered")): 4.6,
        finished(store, sweep(points=[], perplexity=[])): None,
    }
    found = store.list(order=Order(SortKey.PERPLEXITY, descending=False)).items
    assert [made[job.id] for job in found] == [4.6, 8.23, 37.6, None]
    for job in found:
        assert job.result is not None
        shown = [one[job.result["published"]] for one in job.result["perplexity"]]
        assert shown == ([] if made[job.id] is None else [made[job.id]])


def test_a_job_has_one_duration_and_stages_that_add_up_to_it(store: Store) -> None:
    """Seen: 2:56 on the page, 2:29 in the stages, 104 s in the report."""
    job_id = finished(store, sweep())
    began = datetime.now(UTC) - timedelta(seconds=sum(STAGES.values()) + 0.25)
    with store.engine.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(started_at=began))
    job = store.get(job_id)
    assert job is not None
    assert job.started_at is not None
    assert job.finished_at is not None
    wall = (job.finished_at - job.started_at).total_seconds()
    assert job.seconds == wall
    assert job.stages is not None
    assert sum(job.stages.values()) == pytest.approx(wall)
    rest = job.stages["publish"] - STAGES["publish"]  # between the stages
    assert job.stages == {**STAGES, "publish": STAGES["publish"] + rest}
    assert 0 <= rest < 5
    assert job.timed_result is not None
    assert job.timed_result["seconds"] == wall
    (row,) = store.list().items
    assert row.result is not None
    assert row.seconds == row.result["seconds"] == wall


def test_earlier_jobs_tell_their_stages(store: Store) -> None:
    finished(store, sweep())
    (one,) = earlier_jobs(store.engine)
    assert (one.spec, one.stages) == (SPEC, STAGES)
    finished(store, sweep(stages={}))
    assert sorted((job.stages for job in earlier_jobs(store.engine)), key=len) == [{}, STAGES]
