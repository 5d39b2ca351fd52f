"""`Summary`: the report's first sentences, and whether the recovered model is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slimgpt.events import Loss, Perplexity
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_count


@dataclass(frozen=True)
class Summary:
    """The outcome of a job.

    Attributes:
        line: one or two sentences, the field `verdict` of the report.
        recovered: whether the recovered model is published.
        worse: whether recovery increased perplexity or loss on held-out text.
    """

    line: str
    recovered: bool = False
    worse: bool = False


def of(
    spec: PruneSpec, plan: Plan, perplexity: Sequence[Perplexity], curves: Sequence[Loss] | None
) -> Summary:
    """Summarise a job, and decide whether the recovered model is published.

    The perplexity on the first evaluation text decides; without one, the loss on held-out rows.

    Args:
        curves: the recovery's losses; None without recovery.
    """
    summary = _size(plan)
    if perplexity:
        summary += f" {_perplexity(perplexity[0])}"
    if curves is None or spec.recovery is None:
        return Summary(summary)
    before, after, what = _held_out(perplexity, curves)
    if after <= before:
        return Summary(summary, recovered=True)
    keep = spec.recovery.publish == "recovered"
    published = "the recovered model is published as requested" if keep else (
        "the unrecovered model is published"
    )  # fmt: skip
    rise = f"{what} rose from {before:.4g} to {after:.4g}"
    line = f"Recovery made the model worse: {rise}; {published}."
    return Summary(f"{line} {summary}", recovered=keep, worse=True)


def _size(plan: Plan) -> str:
    before, after = short_count(plan.parameters_before), short_count(plan.parameters_after)
    return f"{plan.ratio_achieved:.1%} of the parameters removed ({before} → {after})."


def _perplexity(one: Perplexity) -> str:
    recovered = "" if one.recovered is None else f", recovered {one.recovered:.4g}"
    where = f"{one.text} at {one.window}"
    return f"Perplexity on {where}: dense {one.dense:.4g}, pruned {one.pruned:.4g}{recovered}."


def _held_out(perplexity: Sequence[Perplexity], curves: Sequence[Loss]) -> tuple[float, float, str]:
    if perplexity and perplexity[0].recovered is not None:
        one = perplexity[0]
        return one.pruned, perplexity[0].recovered, f"perplexity on {one.text}"
    losses = [point.lessons for point in curves if point.lessons is not None]
    if len(losses) < 2:
        return 0.0, 0.0, "nothing was held out"
    return losses[0], losses[-1], "the loss on held-out rows"
