"""`Summary`: the report's first sentences, and whether the recovered model is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slimgpt.events import Interval, Loss, ModelName, Perplexity
from slimgpt.planning.plan import Plan
from slimgpt.report import assessment
from slimgpt.report.assessment import Assessment, Calibration
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_count


@dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        line: two sentences or three, the field `verdict` of the report.
        assessment: what it means, and what to do.
        recovered: whether the recovered model is published.
        worse: whether recovery increased perplexity or loss on held-out text.
    """

    line: str
    assessment: Assessment
    recovered: bool = False
    worse: bool = False


def of(
    spec: PruneSpec,
    plan: Plan,
    perplexity: Sequence[Perplexity],
    curves: Sequence[Loss] | None,
    calibration: Calibration | None,
) -> Summary:
    """Summarise a job, and decide whether the recovered model is published.

    The perplexity on the first evaluation text decides; without one, the loss on held-out rows.

    Args:
        curves: the recovery's losses; None without recovery.
        calibration: None if nothing was pruned.
    """
    recovered, worse, line = _decided(spec, perplexity, curves)
    published: ModelName = "recovered" if recovered else "pruned"
    recovers = curves is not None
    assessed = assessment.assess(perplexity, published, calibration, recovers=recovers)
    judged = assessment.worst(perplexity, published)
    said = [line, _size(plan), "" if judged is None else _perplexity(judged, assessed)]
    return Summary(" ".join(filter(None, said)), assessed, recovered, worse)


def _decided(
    spec: PruneSpec, perplexity: Sequence[Perplexity], curves: Sequence[Loss] | None
) -> tuple[bool, bool, str]:
    """Whether the recovered model is published, whether it is worse, and a sentence if it is."""
    if curves is None or spec.recovery is None:
        return False, False, ""
    before, after, what = _held_out(perplexity, curves)
    if after <= before:
        return True, False, ""
    keep = spec.recovery.publish == "recovered"
    published = "the recovered model is published as requested" if keep else (
        "the unrecovered model is published"
    )  # fmt: skip
    rise = f"{what} rose from {before:.4g} to {after:.4g}"
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


def _held_out(perplexity: Sequence[Perplexity], curves: Sequence[Loss]) -> tuple[float, float, str]:
    if perplexity and perplexity[0].recovered is not None:
        one = perplexity[0]
        return one.pruned, perplexity[0].recovered, f"perplexity on {one.text}"
    losses = [point.lessons for point in curves if point.lessons is not None]
    if len(losses) < 2:
        return 0.0, 0.0, "nothing was held out"
    return losses[0], losses[-1], "the loss on held-out rows"
