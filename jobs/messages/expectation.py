"""`expectations`: how long each stage of a job is expected to take, before it has.

Sources, in this order: earlier jobs of the service on the same model, scaled by how much more this
job has to do; other stages of the job itself, which tell the machine's pace; and constants. A stage
of which nothing is known stays unknown, and so does the time left, until it has begun to show its
own pace.

A proof of load imports in a fresh process what the start imported, unless an engine that waited had
imported it before: then the start tells nothing, and the quickest proof of the service stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from jobs.messages.workload import (
    evaluating,
    limited_seconds,
    proofs,
    pruning,
    shape,
    surveying,
)
from slimgpt.spec.prune import PruneSpec

STAGES = ("start", "resolve", "plan", "prune", "recover", "evaluate", "verify", "publish")
START, RESOLVE, PLAN, PUBLISH = 15.0, 5.0, 3.0, 2.0
"""Seconds of stages of which nothing is known."""
PROOF = 5.0
"""Least seconds of a proof, before there is one: its process computes for 6 s until it has imported
its libraries (benchmarks/results/startup.md)."""
RECENT = 5
"""Earlier jobs whose median is taken."""


class Expectation(NamedTuple):
    """Seconds of a stage: known, or `times` those of the stage `of` and `least` at least; unknown
    if neither."""

    seconds: float | None = None
    of: str | None = None
    times: float = 0.0
    least: float = 0.0


UNKNOWN: dict[str, Expectation | None] = {
    "start": Expectation(START), "resolve": Expectation(RESOLVE), "plan": Expectation(PLAN),
    "prune": Expectation(), "recover": None, "evaluate": Expectation(of="prune", times=0.3),
    "verify": Expectation(of="start", times=1.0, least=PROOF), "publish": Expectation(PUBLISH),
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
    found = _own(spec, _least_proof(earlier))
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


def _own(spec: PruneSpec, proof: float) -> dict[str, Expectation]:
    """What a specification alone tells.

    Args:
        proof: least seconds of a proof of load.
    """
    wanted, count = spec.evaluation, float(proofs(spec))
    unmeasurable = wanted.tasks or wanted.inference is not None or wanted.samples is not None
    evaluate = evaluating(spec) / pruning(spec)
    recover = Expectation(limited_seconds(spec) or None)
    return of_stages(
        plan=Expectation() if surveying(spec) else Expectation(PLAN),
        recover=None if spec.recovery is None else recover,
        evaluate=Expectation() if unmeasurable else Expectation(of="prune", times=evaluate),
        verify=Expectation(of="start", times=count, least=count * proof),
    )


def _least_proof(earlier: Sequence[Earlier]) -> float:
    """Seconds of the quickest proof so far, of any model."""
    known = [job.stages["verify"] / proofs(job.spec) for job in earlier if "verify" in job.stages]
    return min(known, default=PROOF)


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
        measured = [
            (one.devices, one.evaluation.tasks, one.evaluation.inference, one.evaluation.samples)
            for one in (theirs, ours)
        ]
        return measured[0] == measured[1]
    return stage not in ("plan", "prune") or shape(theirs) == shape(ours)


def _work(stage: str, spec: PruneSpec) -> float:
    """How much a stage has to do, in a unit that is the same for two jobs on one model."""
    if stage == "plan":
        return surveying(spec) or 1.0
    if stage == "prune":
        return pruning(spec)
    if stage == "evaluate":
        return max(1.0, evaluating(spec))
    if stage in ("verify", "publish"):
        return float(proofs(spec))
    return float(len(spec.points)) if stage == "recover" else 1.0
