"""Estimates how long a job takes, from the jobs that this service has finished.

Work is counted in token passes (`jobs.messages.workload`). Jobs on the same model count first, of
these those of the same shape (method, schedule, residual target, devices), then those of the most
similar work. Without a finished job the rate of two processor cores stands in, and the answer says
so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

from pydantic import BaseModel, Field

from jobs.messages import workload
from jobs.messages.expectation import Earlier
from slimgpt.spec.prune import PruneSpec

TYPICAL = 4e-12
"""Seconds a parameter and token pass: 128 × 256 tokens through 134.5M parameters in 50 s."""
STARTING = 30.0
"""Seconds of any job: imports, reading the model, loading the result in fresh processes."""
SIMILAR = 5


class TimeEstimate(BaseModel):
    """How long a job may take, from its claim by a worker to its end; not its time in the queue."""

    seconds: float = Field(description="The median of the estimates.", examples=[240.0])
    low: float = Field(description="The shortest of them, in seconds.", examples=[180.0])
    high: float = Field(description="The longest of them, in seconds.", examples=[420.0])
    basis: Literal["same-model", "other-models", "typical"] = Field(
        description="What it is estimated from: finished jobs of this service on the same model; "
        "on others; or the rate of two processor cores, while no job has finished.",
    )
    jobs: int = Field(description="Number of finished jobs that it is estimated from.")


def estimate(spec: PruneSpec, parameters: int, history: Sequence[Earlier]) -> TimeEstimate:
    """The time of a job.

    Args:
        parameters: of the dense model.
        history: finished jobs.
    """
    wanted, limited = work(spec, parameters), workload.limited_seconds(spec)
    same = [one for one in history if one.spec.model == spec.model]
    known = _of_shape(spec, same or history)
    if not known:
        seconds = STARTING + TYPICAL * wanted + limited
        return _estimate([seconds / 2, seconds, seconds * 3], "typical", 0)

    def distance(one: Earlier) -> float:
        return abs(math.log(work(one.spec, one.parameters) / wanted))

    similar = sorted(known, key=distance)[:SIMILAR]
    least = min(map(_unlimited, known))  # no job is faster than the fastest so far
    if workload.shape(known[0].spec) != workload.shape(spec):  # unless it does something else
        least = min(least, STARTING)
    scaled = [
        max(least, _unlimited(one) * wanted / work(one.spec, one.parameters)) + limited
        for one in similar
    ]
    return _estimate(scaled, "same-model" if same else "other-models", len(scaled))


def work(spec: PruneSpec, parameters: int) -> float:
    """Parameters times token passes, at least one, of all stages but those with a time limit."""
    passes = workload.surveying(spec) + workload.pruning(spec)
    passes += workload.evaluating(spec) + workload.recovering(spec)
    return parameters * max(1.0, passes)


def _of_shape(spec: PruneSpec, history: Sequence[Earlier]) -> Sequence[Earlier]:
    """The jobs of the same shape; all, if there is none."""
    wanted = workload.shape(spec)
    return [one for one in history if workload.shape(one.spec) == wanted] or history


def _unlimited(one: Earlier) -> float:
    """A finished job's seconds without those that it was given."""
    return max(1.0, one.seconds - workload.limited_seconds(one.spec))


def _estimate(
    seconds: Sequence[float], basis: Literal["same-model", "other-models", "typical"], jobs: int
) -> TimeEstimate:
    rounded = [round(one, 1) for one in (median(seconds), min(seconds), max(seconds))]
    return TimeEstimate(seconds=rounded[0], low=rounded[1], high=rounded[2], basis=basis, jobs=jobs)
