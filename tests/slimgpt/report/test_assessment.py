"""A result in words, by the documented thresholds; the issue's own examples among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimgpt.events import Interval, Perplexity
from slimgpt.report import assessment
from slimgpt.report.assessment import Calibration, assess, loss_of, meaning

DOCS = Path(__file__).resolve().parents[3] / "docs" / "report.md"


def measured(ratio: float, interval: Interval | None, text: str = "held-out") -> Perplexity:
    return Perplexity(
        text=text, sequence_length=128, tokens=2032, windows=16, sha256="ab" * 32,
        dense=10.0, pruned=10.0 * ratio, pruned_ratio_interval=interval,
    )  # fmt: skip


def calibration(tokens: int, columns: int, length: int = 128) -> Calibration:
    return Calibration(
        tokens=tokens, columns=columns, per_column=tokens / columns, samples=tokens // length,
        sequence_length=length,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "loss"),
    [(0.97, "none"), (1.0, "none"), (1.04, "harmless"), (1.05, "harmless"), (1.051, "noticeable"),
     (1.3, "noticeable"), (1.31, "heavy"), (2.19, "heavy"), (None, "unknown")],
)  # fmt: skip
def test_the_loss_has_the_documented_thresholds(ratio: float | None, loss: str) -> None:
    assert loss_of(ratio) == loss


def test_thresholds_are_written_where_users_read() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for number in (assessment.HARMLESS, assessment.NOTICEABLE):
        assert f"×{number:.2f}" in text
    assert f"{assessment.ENOUGH_PER_COLUMN:g} calibration tokens" in text


def test_a_loss_that_may_be_another_says_so() -> None:
    assert meaning(2.19, (2.1, 2.3)) == "×2.19, a heavy loss"
    assert meaning(1.28, (1.2, 1.36)) == "×1.28, a noticeable loss, perhaps heavy"
    assert meaning(1.05, (1.01, 1.09)) == "×1.05, a harmless loss, perhaps noticeable"


def test_few_tokens_are_called_few_and_what_to_do_is_said() -> None:
    """Seen: ×2.19 from 2,032 tokens, calibrated with 2,048 tokens of FFNs that are 1,536 wide."""
    found = assess([measured(2.19, (1.9, 2.5))], "pruned", calibration(2048, 1536), recovers=False)
    assert found.loss == "heavy"
    assert "2,032 tokens of held-out in 16 windows: ×1.9 to ×2.5 with 95%" in found.evidence[0]
    assert "from few windows" in found.evidence[0]
    assert "1.33 for each of the 1,536 columns of an FFN: too few" in found.evidence[1]
    assert found.advice[0] == "Calibrate on more text: 120 sequences of 128 tokens in place of 16."
    assert any(one.startswith("Remove less") for one in found.advice)
    assert any(one.startswith("Recover:") for one in found.advice)
    assert any(one.startswith("Evaluate on more text") for one in found.advice)


def test_a_good_result_that_is_known_well_needs_nothing() -> None:
    found = assess(
        [measured(1.02, (1.015, 1.025))], "pruned", calibration(524_288, 11_008), recovers=False
    )
    assert (found.loss, found.advice) == ("harmless", [])
    assert "47.6 for each of the 11,008 columns of an FFN: enough" in found.evidence[1]


def test_the_text_with_the_largest_loss_is_judged() -> None:
    texts = [measured(1.02, (1.01, 1.03), "wikitext2"), measured(1.5, (1.4, 1.6), "c4")]
    found = assess(texts, "pruned", None, recovers=True)
    assert (found.text, found.loss) == ("c4", "heavy")
    assert "Recover for longer or on more text." in found.advice


def test_what_was_not_evaluated_has_no_loss() -> None:
    found = assess([], "pruned", None, recovers=False)
    assert (found.loss, found.ratio, found.interval) == ("unknown", None, None)
    assert found.advice == ["Evaluate: name a text in `evaluation.texts`, or `held-out`."]
