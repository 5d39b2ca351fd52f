"""`assess`: what a job's numbers mean, what they are worth, and what to do (docs/report.md).

The loss is judged by the ratio of the published model's perplexity to the dense model's, on the
text where it is largest:

| ratio | loss | measured at such ratios |
|---|---|---|
| up to ×1.05 | harmless | 84% of next tokens unchanged; as 4- to 5-bit quantisation |
| up to ×1.30 | noticeable | 66 to 75% of next tokens unchanged |
| above | heavy | at ×1.7 half of next tokens change; at ×1.45 task scores fall 11 to 13 points |

Evidence: a calibration Hessian of d columns has d × d entries to estimate. From t tokens for each
column its eigenvalues are off by factors (1 ± 1/√t)² (Marchenko and Pastur): 0.5 to 1.7 at 10
tokens a column, 0.7 to 1.3 at the paper's 48; below 1 it is singular, and damping decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from slimgpt.events import Interval, ModelName, Perplexity

Loss = Literal["none", "harmless", "noticeable", "heavy", "unknown"]
HARMLESS, NOTICEABLE = 1.05, 1.30
"""Largest ratios of perplexities with that loss."""
ENOUGH_PER_COLUMN = 10.0
"""Calibration tokens for each FFN column below which there are too few."""
FEW_WINDOWS = 30
"""Evaluated windows below which an interval from resampling is itself rough."""
WIDE = 1.10
"""Quotient of an interval's ends from which it is wide."""
WORDS: dict[Loss, str] = {
    "none": "no loss",
    "harmless": "a harmless loss",
    "noticeable": "a noticeable loss",
    "heavy": "a heavy loss",
    "unknown": "loss not measured",
}


class Calibration(BaseModel):
    """How much a calibration tells about an FFN's columns.

    Attributes:
        tokens: of all sequences.
        columns: FFN channels of the widest layer before pruning, of one expert.
        per_column: tokens that reach an FFN, for each of its columns.
        samples, sequence_length: as requested.
    """

    tokens: int
    columns: int
    per_column: float
    samples: int
    sequence_length: int

    @property
    def enough(self) -> bool:
        """Whether the Hessians are estimated from enough tokens."""
        return self.per_column >= ENOUGH_PER_COLUMN


class Assessment(BaseModel):
    """What the numbers of a model mean, what they are worth, and what to do.

    Attributes:
        loss: by the thresholds of this module; `unknown` if no text was evaluated.
        text: on which the ratio is the largest.
        ratio: perplexity of the published model ÷ that of the dense model.
        interval: of the ratio, 95%.
        evaluated_tokens, windows: of that text; 0 if none.
        calibration: None if nothing was pruned.
        meaning: the loss in words.
        evidence: what the numbers rest on, and whether that is enough.
        advice: what to do about it; empty if there is nothing to do.
    """

    loss: Loss
    text: str | None = None
    ratio: float | None = None
    interval: Interval | None = None
    evaluated_tokens: int = 0
    windows: int = 0
    calibration: Calibration | None = None
    meaning: str
    evidence: list[str]
    advice: list[str]


def assess(
    perplexity: Sequence[Perplexity],
    published: ModelName,
    calibration: Calibration | None,
    *,
    recovers: bool,
) -> Assessment:
    """Assess a model.

    Args:
        perplexity: on every text; may be empty.
        published: the model that is assessed.
        calibration: None if nothing was pruned.
        recovers: whether a recovery was part of the job.
    """
    judged = worst(perplexity, published)
    ratio = None if judged is None else _ratio(judged, published)
    interval = None if judged is None else _interval(judged, published)
    loss = loss_of(ratio)
    return Assessment(
        loss=loss,
        text=None if judged is None else judged.text,
        ratio=ratio,
        interval=interval,
        evaluated_tokens=0 if judged is None else judged.tokens,
        windows=0 if judged is None else judged.windows or 0,
        calibration=calibration,
        meaning=meaning(ratio, interval),
        evidence=list(_evidence(judged, interval, calibration)),
        advice=list(_advice(loss, judged, interval, calibration, recovers=recovers)),
    )


def loss_of(ratio: float | None) -> Loss:
    """The loss at a ratio of perplexities."""
    if ratio is None:
        return "unknown"
    if ratio <= 1.0:
        return "none"
    if ratio <= HARMLESS:
        return "harmless"
    return "noticeable" if ratio <= NOTICEABLE else "heavy"


def meaning(ratio: float | None, interval: Interval | None) -> str:
    """The loss in words: `×1.28, a noticeable loss, perhaps heavy`."""
    loss = loss_of(ratio)
    if ratio is None:
        return WORDS[loss]
    ends = [] if interval is None else [loss_of(end) for end in interval]
    others = [WORDS[end].removeprefix("a ").removesuffix(" loss") for end in ends if end != loss]
    perhaps = f", perhaps {' or '.join(dict.fromkeys(others))}" if others else ""
    return f"×{ratio:.3g}, {WORDS[loss]}{perhaps}"


def worst(perplexity: Sequence[Perplexity], published: ModelName) -> Perplexity | None:
    """The text on which the published model loses most; None if there is none."""
    known = [one for one in perplexity if getattr(one, published) is not None]
    return max(known, key=lambda one: _ratio(one, published), default=None)


def _ratio(one: Perplexity, published: ModelName) -> float:
    value: float = getattr(one, published)
    return value / one.dense


def _interval(one: Perplexity, published: ModelName) -> Interval | None:
    interval: Interval | None = getattr(one, f"{published}_ratio_interval", None)
    return interval


def _wide(interval: Interval | None) -> bool:
    """Whether more text would tell more: the loss is uncertain, or its size is."""
    if interval is None:
        return True
    low, high = interval
    return loss_of(low) != loss_of(high) or high > WIDE * low


def _evidence(
    judged: Perplexity | None, interval: Interval | None, calibration: Calibration | None
) -> Iterator[str]:
    if judged is None:
        yield "No text was evaluated."
    else:
        said = f"Evaluated on {judged.tokens:,} tokens of {judged.text}"
        said += f" in {judged.windows:,} windows" if judged.windows else ""
        if interval is None:
            yield f"{said}: too few for an interval."
        else:
            low, high = interval
            few = (judged.windows or 0) < FEW_WINDOWS
            rough = f", from few windows (below {FEW_WINDOWS})" if few else ""
            yield f"{said}: ×{low:.3g} to ×{high:.3g} with 95% confidence{rough}."
    if calibration is not None:
        verdict = "enough" if calibration.enough else f"too few (below {ENOUGH_PER_COLUMN:g})"
        yield (
            f"Calibrated on {calibration.tokens:,} tokens, {calibration.per_column:.3g} for each "
            f"of the {calibration.columns:,} columns of an FFN: {verdict}."
        )


def _advice(
    loss: Loss,
    judged: Perplexity | None,
    interval: Interval | None,
    calibration: Calibration | None,
    *,
    recovers: bool,
) -> Iterator[str]:
    if calibration is not None and not calibration.enough:
        needed = calibration.tokens * ENOUGH_PER_COLUMN / max(calibration.per_column, 1e-9)
        samples = math.ceil(needed / calibration.sequence_length)
        yield (
            f"Calibrate on more text: {samples:,} sequences of {calibration.sequence_length:,} "
            f"tokens in place of {calibration.samples:,}."
        )
    if loss == "heavy" and calibration is not None:
        yield "Remove less: a smaller ratio."
    if loss in ("noticeable", "heavy"):
        if not recovers:
            yield "Recover: train the pruned model again, `recovery` in a job or `slimgpt recover`."
        elif loss == "heavy":
            yield "Recover for longer or on more text."
    if judged is None:
        yield "Evaluate: name a text in `evaluation.texts`, or `held-out`."
    elif _wide(interval):
        yield f"Evaluate on more text than {judged.tokens:,} tokens before deciding by it."
