"""Estimates how long a job takes, from the jobs that this service has finished.

Work is counted in token passes: a token of text through every parameter of the model. Jobs on the
same model are compared first, then those of the most similar work. Without a finished job the rate
of two processor cores stands in, and the answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

from pydantic import BaseModel, Field

from jobs.messages.expectation import Earlier, evaluated_tokens
from slimgpt.spec.prune import PruneSpec

PRUNING, RECOVERING = 3, 4
"""Passes of a calibration token (statistics, solving, the pruned layer), and of a trained one."""
ROWS = 50_000
"""Rows of a recovery's source that is not cut; Alpaca has 52,002."""
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
    wanted, limited = work(spec, parameters), limited_seconds(spec)
    same = [one for one in history if one.spec.model == spec.model]
    known = same or list(history)
    if not known:
        seconds = STARTING + TYPICAL * wanted + limited
        return _estimate([seconds / 2, seconds, seconds * 3], "typical", 0)

    def distance(one: Earlier) -> float:
        return abs(math.log(work(one.spec, one.parameters) / wanted))

    similar = sorted(known, key=distance)[:SIMILAR]
    least = min(map(_unlimited, known))
    # No job is faster than the fastest so far.
    scaled = [
        max(least, _unlimited(one) * wanted / work(one.spec, one.parameters)) + limited
        for one in similar
    ]
    return _estimate(scaled, "same-model" if same else "other-models", len(scaled))


def work(spec: PruneSpec, parameters: int) -> float:
    """Parameters times token passes, at least one, of all stages but those with a time limit."""
    models = len(spec.points)
    tokens = PRUNING * models * spec.calibration.samples * spec.calibration.sequence_length
    tokens += evaluated_tokens(spec)
    if (recovery := spec.recovery) is not None and recovery.minutes is None:
        rows = recovery.samples or ROWS
        tokens += round(
            models * RECOVERING * rows * recovery.sequence_length * (recovery.epochs or 1)
        )
    return float(parameters) * max(1, tokens)


def limited_seconds(spec: PruneSpec) -> float:
    """Seconds of a recovery that is given its time."""
    minutes = spec.recovery.minutes if spec.recovery is not None else None
    return 60.0 * (minutes or 0.0) * len(spec.points)


def _unlimited(one: Earlier) -> float:
    """A finished job's seconds without those that it was given."""
    return max(1.0, one.seconds - limited_seconds(one.spec))


def _estimate(
    seconds: Sequence[float], basis: Literal["same-model", "other-models", "typical"], jobs: int
) -> TimeEstimate:
    rounded = [round(one, 1) for one in (median(seconds), min(seconds), max(seconds))]
    return TimeEstimate(seconds=rounded[0], low=rounded[1], high=rounded[2], basis=basis, jobs=jobs)
