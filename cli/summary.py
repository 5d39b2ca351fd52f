"""What a run came to: the last thing a user reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from slimgpt.events import Perplexity, Result, Verified


def show_summary(
    console: Console, result: Result, measured: Sequence[Perplexity | Verified]
) -> None:
    """Print the counts, the perplexities, the proof, where the checkpoint lies, how to load it."""
    rows = [
        (
            "parameters",
            f"{result.parameters_before:,} → {result.parameters_after:,} "
            f"({result.ratio_achieved:.2%} removed)",
        )
    ]
    for event in measured:
        if isinstance(event, Perplexity):
            change = event.pruned / event.dense
            rows.append(
                (
                    "perplexity",
                    f"{event.dense:.2f} dense → {event.pruned:.2f} pruned (×{change:.2f}) on "
                    f"{event.text}, {event.sequence_length} tokens a window",
                )
            )
        else:
            rows.append(
                (
                    "verified",
                    f"a fresh process loaded it ({event.loader}); largest difference of logits "
                    f"{event.max_difference:g} over {event.tokens} tokens",
                )
            )
    rows += [
        ("took", f"{result.seconds:.1f} s, {size(result.peak_memory_bytes)} at the peak"),
        ("checkpoint", result.checkpoint),
        ("load it", loading(Path(result.checkpoint))),
    ]
    show_facts(console, rows)


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


def size(count: int) -> str:
    """Bytes for people: 512 B, 7.1 MiB, 12.6 GiB."""
    if count < 1024:
        return f"{count} B"
    value, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"
