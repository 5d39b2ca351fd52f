"""The shapes of Eq. 6 and their published numbers."""

from __future__ import annotations

import math

import pytest

from slimgpt.errors import SpecError
from slimgpt.planning import schedule
from slimgpt.spec.prune import ScheduleSpec


def test_log_increase_is_equation_6() -> None:
    ratios = schedule.curve(ScheduleSpec(shape="log"), 32)(0.8)
    for i, ratio in enumerate(ratios):
        assert ratio == pytest.approx(0.2 + (0.8 - 0.2) * math.log(i + 1) / math.log(32))


@pytest.mark.parametrize(("layers", "mean"), [(32, 0.735), (40, 0.748), (80, 0.781)])
def test_mean_of_the_log_curve(layers: int, mean: float) -> None:
    """FACTS section 4: the mean of log(i+1)/log(n)."""
    ratios = schedule.curve(ScheduleSpec(shape="log", first_ratio=0.0), layers)(1.0)
    assert sum(ratios) / layers == pytest.approx(mean, abs=5e-4)


def test_published_ends_at_20_percent() -> None:
    """FACTS section 4: r_0 = 0.0625 and r_31 = 0.25 have a mean of 0.2004."""
    ratios = schedule.curve(ScheduleSpec(shape="log"), 32)(0.25)
    assert ratios[0] == pytest.approx(0.0625)
    assert sum(ratios) / 32 == pytest.approx(0.2004, abs=1e-4)


@pytest.mark.parametrize("shape", ["log", "linear"])
def test_decrease_starts_where_increase_ends(shape: str) -> None:
    up = schedule.curve(ScheduleSpec.model_validate({"shape": shape}), 10)(0.6)
    down = schedule.curve(ScheduleSpec.model_validate({"shape": f"{shape}-decrease"}), 10)(0.6)
    assert down[0] == pytest.approx(up[-1])
    assert down[-1] == pytest.approx(up[0])
    assert down == sorted(down, reverse=True)


def test_a_fixed_end_stays() -> None:
    first = schedule.curve(ScheduleSpec(shape="linear", first_ratio=0.1), 5)
    assert first(0.5) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    last = schedule.curve(ScheduleSpec(shape="linear", last_ratio=0.5), 5)
    assert last(0.1) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_an_explicit_list_keeps_its_proportions() -> None:
    ratios = schedule.curve(ScheduleSpec(shape="explicit", ratios=(0.1, 0.2, 0.4)), 3)(0.5)
    assert ratios == pytest.approx([0.125, 0.25, 0.5])


def test_an_explicit_list_of_another_length_is_refused() -> None:
    with pytest.raises(SpecError, match="2 ratios, the model has 3 layers"):
        schedule.curve(ScheduleSpec(shape="explicit", ratios=(0.1, 0.2)), 3)


@pytest.mark.parametrize("shape", ["log", "linear", "log-decrease", "linear-decrease"])
def test_a_single_layer_takes_it_all(shape: str) -> None:
    ratios = schedule.curve(ScheduleSpec.model_validate({"shape": shape}), 1)(1.0)
    assert len(ratios) == 1
