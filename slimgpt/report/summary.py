"""`Summary`: the report's first line, and whether the recovered model is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slimgpt.events import Loss, Perplexity
from slimgpt.planning.plan import Plan
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_count


@dataclass(frozen=True)
class Summary:
    """What came of the job.

    Attributes:
        line: one sentence or two, for people.
        recovered: whether the recovered model is what is published.
        worse: recovery made held-out text worse.
    """

    line: str
    recovered: bool = False
    worse: bool = False


def of(
    spec: PruneSpec, plan: Plan, perplexity: Sequence[Perplexity], curves: Sequence[Loss] | None
) -> Summary:
    """Judge the pruned model, and the recovered one where there is one.

    The evaluation's first text decides; without any, the loss on rows that training left out.

    Args:
        curves: of the recovery; None where there was none.
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
    published = "the recovered model is published all the same" if keep else (
        "the unrecovered model is published"
    )  # fmt: skip
    line = f"Recovery made it worse: {what} rose from {before:.4g} to {after:.4g}; {published}."
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
    return losses[0], losses[-1], "the loss on rows that training left out"
