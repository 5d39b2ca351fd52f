"""What the method is for: on a real trained model it loses far less than the baselines do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slimgpt.events import Perplexity
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec


def perplexity(method: str, ratio: float, shared: Path, workdir: Path, **more: Any) -> Perplexity:
    """Of stories260K pruned by a method, on stories that calibration did not use."""
    spec = PruneSpec.model_validate(
        {
            "model": "local:stories260K",
            "ratio": ratio,
            "method": method,
            "head_score": "exact",
            "calibration": {
                "source": "local:stories-1MiB.txt",
                "samples": 64,
                "sequence_length": 256,
            },
            "evaluation": {"max_tokens": 6400},
        }
        | more
    )
    roots = Roots(models=shared / "models", texts=shared / "data" / "tinystories")
    for event in run(spec, workdir / f"{method}-{ratio}", roots, "cpu"):
        if isinstance(event, Perplexity):
            return event
    raise AssertionError("the run measured no perplexity")


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_slimgpt_is_at_least_a_quarter_below_every_baseline(
    ratio: float, shared: Path, tmp_path: Path
) -> None:
    ours = perplexity("slimgpt", ratio, shared, tmp_path)
    for method in ("magnitude", "wanda-sp", "flap"):
        theirs = perplexity(method, ratio, shared, tmp_path)
        assert theirs.dense == ours.dense
        assert ours.pruned < 0.75 * theirs.pruned
    assert ours.pruned > ours.dense


def test_scoring_heads_by_the_first_inverse_is_worse(shared: Path, tmp_path: Path) -> None:
    """The ablation "−GCD" of Table 5, by the paper's schedule: heads leave every layer."""
    log = {"shape": "log"}
    values = [
        perplexity("slimgpt", 0.2, shared, tmp_path / score, head_score=score, schedule=log).pruned
        for score in ("exact", "diagonal")
    ]
    assert values[0] < values[1]


def test_recovery_lowers_held_out_perplexity(shared: Path, tmp_path: Path) -> None:
    """A short course; `benchmarks.recovery` runs the whole one, on two models."""
    stories = (shared / "data" / "tinystories" / "stories-1MiB.txt").read_text()
    (tmp_path / "stories.txt").write_text(stories[:200_000])
    text = "local:stories.txt"
    spec = PruneSpec.model_validate(
        {
            "model": "local:stories260K",
            "ratio": 0.5,
            "calibration": {"source": text, "samples": 64, "sequence_length": 256},
            "recovery": {
                "source": text,
                "samples": 64,
                "learning_rate": 4e-3,
                "batch_size": 8,
                "rank": 32,
                "alpha": 64,
            },
            "evaluation": {"max_tokens": 6400},
        }
    )
    events = run(spec, tmp_path / "work", Roots(shared / "models", tmp_path), "cpu")
    [one] = [event for event in events if isinstance(event, Perplexity)]
    assert one.recovered is not None
    assert one.dense < one.recovered < 0.9 * one.pruned
