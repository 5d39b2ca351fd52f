"""The summary that is printed after a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from slimgpt.events import Perplexity, Result, ResultPoint, TaskScore, Verified
from slimgpt.spec.sizes import short_size

Measured = Perplexity | TaskScore | Verified


def show_summary(console: Console, result: Result, measured: Sequence[Measured]) -> None:
    """Print sizes, perplexity, proof of load, the checkpoint's folder and how to load it."""
    rows: list[tuple[str, str]] = []
    made_here: Sequence[ResultPoint | Result] = result.points or [result]
    for number, made in enumerate(made_here):
        if isinstance(made, ResultPoint):
            rows.append((f"ratio {made.ratio:g}", str(Path(result.checkpoint) / made.folder)))
        rows.append(
            (
                "parameters",
                f"{result.parameters_before:,} → {made.parameters_after:,} "
                f"({made.ratio_achieved:.2%} removed)",
            )
        )
        rows += [_row(event) for event in measured if event.point == number]
        rows += _assessed(made.assessment)
    first = Path(result.checkpoint, *(point.folder for point in result.points[:1]))
    rows += [
        ("took", took(result.seconds, result.peak_memory_bytes)),
        ("checkpoints" if result.points else "checkpoint", result.checkpoint),
        ("load it", loading(first)),
    ]
    show_facts(console, rows)


def _assessed(assessment: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What the numbers mean, rest on, and suggest."""
    if assessment is None:
        return []
    rows = [("meaning", str(assessment["meaning"]))]
    rows += [("evidence", str(one)) for one in assessment["evidence"]]
    return rows + [("what to do", str(one)) for one in assessment["advice"]]


def _row(event: Measured) -> tuple[str, str]:
    if isinstance(event, Perplexity):
        return "perplexity", _perplexity(event)
    if isinstance(event, TaskScore):
        return "task", scores(event)
    return (
        "verified",
        f"{event.format}: a fresh process loaded it ({event.loader}); largest difference "
        f"{event.max_difference:g} over {event.tokens} tokens{allowed(event)}",
    )


def allowed(event: Verified) -> str:
    """What difference is allowed, and why."""
    return f"; allowed: {event.bound:.3g}, {event.bound_is}" if event.bound_is else ""


def _perplexity(event: Perplexity) -> str:
    text = (
        f"{event.dense:.2f} dense → {event.pruned:.2f} pruned (×{event.pruned / event.dense:.2f})"
    )
    if event.recovered is not None:
        change = event.recovered / event.dense
        text += f" → {event.recovered:.2f} recovered (×{change:.2f})"
    return f"{text} on {event.text}, {event.window}"


def scores(event: TaskScore) -> str:
    """`arc_easy, acc: 0.7630 ± 0.0087 dense → 0.7012 ± 0.0094 pruned on 2,376 questions`."""
    text = f"{score(event.dense, event.dense_error)} dense → "
    text += f"{score(event.pruned, event.pruned_error)} pruned"
    if event.recovered is not None:
        text += f" → {score(event.recovered, event.recovered_error)} recovered"
    return f"{event.task}, {event.metric}: {text} on {asked(event.samples, event.shots)}"


def score(value: float, error: float | None) -> str:
    """A value with its standard error, where there is one."""
    return f"{value:.4f}" if error is None else f"{value:.4f} ± {error:.4f}"


def asked(samples: int, shots: int) -> str:
    """The number of questions and shots."""
    return f"{samples:,} questions" + (f", {shots} shots" if shots else "")


def show_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    for name, value in facts:
        line = Text.assemble((f"{name:<12}", "bold"), value)
        console.print(line, soft_wrap=True, highlight=False)


def loading(checkpoint: Path) -> str:
    """The line of Python that loads a checkpoint folder with transformers."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    # A model that kept a stock shape needs no code of its own.
    trust = ", trust_remote_code=True" if "auto_map" in config else ""
    return f'AutoModelForCausalLM.from_pretrained("{checkpoint}"{trust})'


def took(seconds: float, peak_memory_bytes: int) -> str:
    """`12.5 s, 1.2GiB at the peak`."""
    return f"{seconds:.1f} s, {short_size(peak_memory_bytes)} at the peak"
