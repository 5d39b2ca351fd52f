"""Training, its snapshots, its time limit, the probe and the teacher's cache, on a toy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from slimgpt.events import Loss, Progress
from slimgpt.recovery import probe
from slimgpt.recovery.batches import HELD_OUT_ROWS
from slimgpt.recovery.schedule import Schedule
from slimgpt.recovery.snapshot import Snapshot
from slimgpt.recovery.teacher import SHARD, TeacherCache
from slimgpt.recovery.training import Training, train
from tests.slimgpt.recovery import toy

STEPS, CPU = 40, torch.device("cpu")


class Ticks:
    """A clock that every look moves on, faster from some look on."""

    def __init__(self, slower_from: int) -> None:
        self._looks, self._now, self._from = 0, 0.0, slower_from

    def __call__(self) -> float:
        self._looks += 1
        self._now += 1.0 if self._looks < self._from else 30.0
        return self._now


def training(teacher: TeacherCache | None = None) -> Training:
    return Training(toy.student(), toy.batches(), teacher, batch=4)


def state(trained: Training) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in trained.weights.values()]


def steps(folder: Path, trained: Training, **options: object) -> Iterator[Loss]:
    for event in train(trained, Schedule(0.05, STEPS), folder, **options):  # type: ignore[arg-type]
        if isinstance(event, Loss):
            yield event


def test_it_learns_and_measures_held_out_rows(tmp_path: Path) -> None:
    points = list(steps(tmp_path, training()))
    measured = [point.lessons for point in points if point.lessons is not None]
    assert [point.step for point in points] == list(range(STEPS + 1))
    assert measured[-1] < 0.5 * measured[0]


@pytest.mark.parametrize("stop", [1, 4, 9, 23, STEPS])
def test_a_resumed_training_ends_with_the_same_bytes(stop: int, tmp_path: Path) -> None:
    whole = training()
    points = list(steps(tmp_path / "whole", whole))
    for point in steps(tmp_path / "torn", training()):
        if point.step == stop:
            break
    resumed = training()
    rest = list(steps(tmp_path / "torn", resumed))
    assert all(torch.equal(*pair) for pair in zip(state(whole), state(resumed), strict=True))
    kept = Snapshot.newest(tmp_path / "torn")
    assert kept is not None
    assert kept.points == points
    assert len(rest) < STEPS or stop <= STEPS // 10


def test_a_machine_that_gets_slower_ends_in_time_with_its_rate_at_zero(tmp_path: Path) -> None:
    """And a resumed training keeps to what was decided then."""
    whole = training()
    allowed = 200.0
    points = list(steps(tmp_path / "whole", whole, seconds=allowed, clock=Ticks(5)))
    assert points[0].steps == STEPS
    assert points[-1].steps == points[-1].step < STEPS
    kept = Snapshot.newest(tmp_path / "whole")
    assert kept is not None
    assert kept.schedule.at(kept.step) == pytest.approx(0.0, abs=1e-12)

    late = False
    for point in steps(tmp_path / "torn", training(), seconds=allowed, clock=Ticks(5)):
        if late:  # the snapshot with the cut is written
            break
        late = point.steps < STEPS
    torn = Snapshot.newest(tmp_path / "torn")
    assert torn is not None
    assert len(torn.schedule.cuts) == 1
    resumed, known = training(), training()
    list(steps(tmp_path / "torn", resumed))
    list(train(known, torn.schedule, tmp_path / "known"))
    assert all(torch.equal(*pair) for pair in zip(state(known), state(resumed), strict=True))


def test_the_probe_takes_the_best_of_its_rates_and_stops_where_it_gets_worse() -> None:
    rates = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def outcome(rate: float) -> float:
        one, schedule = training(), Schedule(rate, 6)
        for step in range(6):
            one.step(step, schedule.at(step))
        return one.measure(one.batches.held_out[HELD_OUT_ROWS])

    losses = {rate: outcome(rate) for rate in rates}
    expected = min(losses, key=losses.__getitem__)
    for start in range(len(rates)):
        work = probe.probe(training, 6, start, rates)
        while True:
            try:
                assert isinstance(next(work), Progress)
            except StopIteration as end:
                tried = end.value
                break
        assert {one.learning_rate: one.loss for one in tried}.items() <= losses.items()
        assert probe.best(tried) == expected
        assert len(tried) <= len(rates)


def test_a_rate_that_diverges_is_the_worst() -> None:
    tried = [
        probe.Trial(learning_rate=1.0, loss=None, step_seconds=1),
        probe.Trial(learning_rate=0.1, loss=9.0, step_seconds=1),
    ]
    assert probe.best(tried) == 0.1


def test_the_teacher_is_asked_once_and_its_pupil_learns_nothing_from_its_own_words(
    tmp_path: Path,
) -> None:
    """Distilling a model into itself leaves no loss; what is on disk is not asked for again."""
    batches, teacher = toy.batches(), toy.student()
    teacher.model.eval()
    cache = TeacherCache(tmp_path / "teacher", batches, toy.WORDS, 1.0)
    assert cache.missing(10**6) == [0, 1, 2]
    assert cache.missing(SHARD) == [0]
    for shard in cache.missing(10**6):
        cache.write(shard, teacher, CPU)
    assert TeacherCache(tmp_path / "teacher", batches, toy.WORDS, 1.0).missing(10**6) == []
    learned = sum(one.learned for one in batches.sequences)
    assert learned * toy.WORDS * 6 < cache.bytes() < learned * (toy.WORDS * 6 + 4) + 3 * 1000
    places = [37, 2, 18]
    batch = batches.collate([batches.sequences[place] for place in places])
    found = toy.student()
    found.model.eval()
    own = float(found.loss(batch, cache.of(places, CPU)).detach())
    other = float(toy.student(5).loss(batch, cache.of(places, CPU)).detach())
    assert abs(own) < 1e-2 < other
