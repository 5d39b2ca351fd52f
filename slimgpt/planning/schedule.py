"""Ratio schedules over depth: five shapes and an explicit list (paper section 4.3, Eq. 6).

A schedule is a family of curves with one free parameter x in [0, 1]; the plan solves for the x that
meets the parameter target. Imports neither torch nor transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from slimgpt.errors import SpecError
from slimgpt.spec.prune import ScheduleSpec

SMALL_END = 0.25  # smallest ratio of a curve as a share of its largest, unless the user sets one

Curve = Callable[[float], list[float]]


def curve(schedule: ScheduleSpec, layers: int) -> Curve:
    """The ratios of all layers as a function of the free parameter x.

    Args:
        schedule: shape and, if set, the fixed first or last ratio.
        layers: number of decoder layers, n.

    Raises:
        SpecError: the length of an explicit list is not the number of layers.
    """
    if schedule.shape in ("uniform", "global", "measured"):
        return lambda x: [x] * layers
    if schedule.ratios is not None:
        return _explicit(schedule.ratios, layers)
    steps = _steps(schedule.shape, layers)
    grows = schedule.shape in ("log", "linear")
    if schedule.first_ratio is not None:
        first = schedule.first_ratio
        return lambda x: [first + (x - first) * t for t in steps]
    if schedule.last_ratio is not None:
        last = schedule.last_ratio
        return lambda x: [x + (last - x) * t for t in steps]
    if grows:
        return lambda x: [x * (SMALL_END + (1 - SMALL_END) * t) for t in steps]
    return lambda x: [x * (1 - (1 - SMALL_END) * t) for t in steps]


def _steps(shape: str, layers: int) -> list[float]:
    """t_i from 0 (first layer) to 1 (last): r_i = r_0 + (r_(n-1) − r_0)·t_i (Eq. 6)."""
    if layers == 1:
        return [1.0]
    if shape.startswith("log"):
        return [math.log(i + 1) / math.log(layers) for i in range(layers)]
    return [i / (layers - 1) for i in range(layers)]


def _explicit(ratios: tuple[float, ...], layers: int) -> Curve:
    """The user's ratios times a common factor; x = 1 scales the largest to 1."""
    if len(ratios) != layers:
        raise SpecError(
            f"the schedule lists {len(ratios)} ratios, the model has {layers} layers",
            hint="give one ratio for every layer",
        )
    largest = max(ratios) or 1.0
    return lambda x: [x * ratio / largest for ratio in ratios]
