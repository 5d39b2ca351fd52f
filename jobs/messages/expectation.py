"""`expectations`: how long each stage of a job is expected to take, before it has.

Sources, in this order: earlier jobs of the service on the same model, scaled by how much more this
job has to do; other stages of the job itself, which tell the machine's pace (every proof of load
imports what the start imported); and constants. A stage of which nothing is known stays unknown,
and so does the time left, until it has begun to show its own pace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from slimgpt.spec.prune import HELD_OUT, PruneSpec

STAGES = ("start", "resolve", "plan", "prune", "recover", "evaluate", "verify", "publish")
START, RESOLVE, PLAN, PUBLISH = 15.0, 5.0, 3.0, 2.0
"""Seconds of stages of which nothing is known."""
HELD_OUT_TOKENS, TEXT_TOKENS = 16_384, 300_000
"""Tokens of an evaluation text that is not cut; WikiText-2 has about as many."""
PASSES = 3
"""A pruned token costs about so many evaluated ones: statistics, pruning, and the next layer."""
RECENT = 5
"""Earlier jobs whose median is taken."""


class Expectation(NamedTuple):
    """Seconds of a stage: known, or `times` those of the stage `of`; unknown if neither."""

    seconds: float | None = None
    of: str | None = None
    times: float = 0.0


UNKNOWN: dict[str, Expectation | None] = {
    "start": Expectation(START), "resolve": Expectation(RESOLVE), "plan": Expectation(PLAN),
    "prune": Expectation(), "recover": None, "evaluate": Expectation(of="prune", times=0.3),
    "verify": Expectation(of="start", times=1.0), "publish": Expectation(PUBLISH),
}  # fmt: skip
"""Of a job whose specification is not known."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A job that succeeded in one attempt.

    Attributes:
        spec: what it was asked.
        stages: seconds of its stages; empty of jobs before they were kept.
        parameters: of the dense model.
        seconds: from the claim to the end.
    """

    spec: PruneSpec
    stages: dict[str, float]
    parameters: int = 0
    seconds: float = 0.0


def expectations(
    spec: PruneSpec, earlier: Sequence[Earlier] = (), *, publishes: bool = True
) -> dict[str, Expectation]:
    """The stages of a job in their order, each with what is expected of it.

    Args:
        earlier: jobs of the same service, the newest first.
        publishes: whether the result is copied to an artifact store at the end.
    """
    found = _own(spec)
    for stage in ("start", "resolve"):
        if seconds := [job.stages[stage] for job in earlier if stage in job.stages][:RECENT]:
            found[stage] = Expectation(median(seconds))
    for stage in ("plan", "prune", "recover", "evaluate", "verify", "publish"):
        same = [job for job in earlier if _alike(stage, job.spec, spec) and stage in job.stages]
        scaled = [
            job.stages[stage] * _work(stage, spec) / _work(stage, job.spec) for job in same[:RECENT]
        ]
        if stage in found and scaled:
            found[stage] = Expectation(median(scaled))
    if not publishes:
        del found["publish"]
    return found


def _own(spec: PruneSpec) -> dict[str, Expectation]:
    """What a specification alone tells."""
    unmeasurable = spec.evaluation.tasks or spec.evaluation.inference is not None
    evaluate = evaluated_tokens(spec) / (PASSES * _calibration_tokens(spec))
    # A dense pass over all layers comes before the plan.
    plan = Expectation() if spec.schedule.shape in ("measured", "global") else Expectation(PLAN)
    return of_stages(
        plan=plan,
        recover=None if spec.recovery is None else Expectation(),
        evaluate=Expectation() if unmeasurable else Expectation(of="prune", times=evaluate),
        verify=Expectation(of="start", times=float(_proofs(spec))),
    )


def of_stages(**known: Expectation | None) -> dict[str, Expectation]:
    """The stages of a job of which only these are known; None: a stage that it does not have."""
    return {stage: found for stage in STAGES if (found := (UNKNOWN | known)[stage]) is not None}


def _alike(stage: str, theirs: PruneSpec, ours: PruneSpec) -> bool:
    """Whether another job's stage tells how long ours takes."""
    if theirs.model != ours.model:
        return False
    if stage == "recover":
        return theirs.recovery == ours.recovery
    if stage == "evaluate":
        one, other = theirs.evaluation, ours.evaluation
        return (one.tasks, one.inference) == (other.tasks, other.inference)
    if stage in ("plan", "prune"):
        return (theirs.method, theirs.schedule.shape) == (ours.method, ours.schedule.shape)
    return True


def _work(stage: str, spec: PruneSpec) -> float:
    """How much a stage has to do, in a unit that is the same for two jobs on one model."""
    points = len(spec.points)
    if stage == "prune":
        return float(points * _calibration_tokens(spec))
    if stage == "evaluate":
        return float(max(1, evaluated_tokens(spec)))
    if stage in ("verify", "publish"):
        return float(_proofs(spec))
    return float(points) if stage == "recover" else 1.0


def _calibration_tokens(spec: PruneSpec) -> int:
    return spec.calibration.samples * spec.calibration.sequence_length


def evaluated_tokens(spec: PruneSpec) -> int:
    """Tokens that the models of a job are measured on: the dense one once, also in a sweep."""
    wanted = spec.evaluation
    models = 1 + len(spec.points) * (1 if spec.recovery is None else 2)
    whole = [HELD_OUT_TOKENS if text == HELD_OUT else TEXT_TOKENS for text in wanted.texts]
    tokens = sum(min(size, wanted.max_tokens or size) for size in whole)
    return models * tokens * len(wanted.sequence_lengths)


def _proofs(spec: PruneSpec) -> int:
    """Formats of all models: each is written, loaded in a fresh process, and published."""
    first = "uniform" if spec.layers_alike else "exact"
    return len(spec.points) * len({first, *spec.formats})
