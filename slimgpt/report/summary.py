"""`Summary`: the report's first sentences, and whether the recovered model is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from slimgpt.events import Interval, Loss, ModelName, Perplexity
from slimgpt.planning.plan import Plan
from slimgpt.report import assessment
from slimgpt.report.assessment import Assessment, Calibration
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_count


class Change(NamedTuple):
    """A measure on held-out text before and after recovery; less is better."""

    before: float
    after: float
    what: str


@dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        line: two sentences or three, the field `verdict` of the report.
        assessment: what it means, and what to do.
        recovered: whether the recovered model is published.
        worse: whether recovery increased perplexity or loss on held-out text.
        judged: whether there was held-out text to judge a recovery by.
    """

    line: str
    assessment: Assessment
    recovered: bool = False
    worse: bool = False
    judged: bool = True


def of(
    spec: PruneSpec,
    plan: Plan,
    perplexity: Sequence[Perplexity],
    curves: Sequence[Loss] | None,
    calibration: Calibration | None,
) -> Summary:
    """Summarise a job, and decide whether the recovered model is published.

    The perplexity on the first evaluation text decides; without one, the loss on held-out rows.
    Without these the unrecovered model is published: `better` is never one that may be worse.

    Args:
        curves: the recovery's losses; None without recovery.
        calibration: None if nothing was pruned.
    """
    change = None if curves is None else _held_out(perplexity, curves)
    recovered, worse, line = _decided(spec, change, recovers=curves is not None)
    published: ModelName = "recovered" if recovered else "pruned"
    recovers = curves is not None
    assessed = assessment.assess(perplexity, published, calibration, recovers=recovers)
    worst = assessment.worst(perplexity, published)
    said = [line, _size(plan), "" if worst is None else _perplexity(worst, assessed)]
    judged = not recovers or change is not None
    return Summary(" ".join(filter(None, said)), assessed, recovered, worse, judged)


def _decided(spec: PruneSpec, change: Change | None, *, recovers: bool) -> tuple[bool, bool, str]:
    """Whether the recovered model is published, whether it is worse, and a sentence if it is, or if
    nothing tells.

    Args:
        change: of what was held out; None: nothing was.
    """
    if not recovers or spec.recovery is None:
        return False, False, ""
    keep = spec.recovery.publish == "recovered"
    published = "the recovered model is published as requested" if keep else (
        "the unrecovered model is published"
    )  # fmt: skip
    if change is None:
        return keep, False, f"Recovery was not judged, for nothing was held out; {published}."
    if change.after <= change.before:
        return True, False, ""
    rise = f"{change.what} rose from {change.before:.4g} to {change.after:.4g}"
    return keep, True, f"Recovery made the model worse: {rise}; {published}."


def _size(plan: Plan) -> str:
    before, after = short_count(plan.parameters_before), short_count(plan.parameters_after)
    return f"{plan.ratio_achieved:.1%} of the parameters removed ({before} → {after})."


def _perplexity(one: Perplexity, assessed: Assessment) -> str:
    recovered = "" if one.recovered is None else f", recovered {one.recovered:.4g}"
    where = f"{one.text} at {one.window}"
    values = f"dense {one.dense:.4g}, pruned {one.pruned:.4g}{recovered}"
    return f"Perplexity on {where}: {values}; {assessed.meaning}{_between(assessed.interval)}."


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f" (95%: ×{interval[0]:.3g} to ×{interval[1]:.3g})"


def _held_out(perplexity: Sequence[Perplexity], curves: Sequence[Loss]) -> Change | None:
    """By what a recovery is judged; None: there is nothing."""
    if perplexity and (after := perplexity[0].recovered) is not None:
        return Change(perplexity[0].pruned, after, f"perplexity on {perplexity[0].text}")
    losses = [point.lessons for point in curves if point.lessons is not None]
    if len(losses) < 2:
        return None
    return Change(losses[0], losses[-1], "the loss on held-out rows")
