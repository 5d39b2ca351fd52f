"""Whether what generation costs is told the same twice.

`python -m benchmarks.latency` runs the same job several times, one after the other, and compares
the medians of each with the spread that its own report states.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from benchmarks import results
from slimgpt.events import Latency
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import CalibrationSpec, EvaluationSpec, InferenceSpec, PruneSpec

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RATIO = 0.5
FIELDS = (("prefill_ms", "prefill_spread_ms"), ("decode_ms_per_token", "decode_spread_ms"))
console = Console(highlight=False, soft_wrap=True)


def latency(
    jobs: Annotated[int, typer.Option(min=2, help="How often the same job is run.")] = 2,
    repeats: Annotated[int, typer.Option(help="Timed rounds of each job.")] = 20,
) -> None:
    """Time the shipped model, dense and pruned, and write benchmarks/results/latency.md."""
    torch.set_num_threads(1)
    spec = PruneSpec(
        model="local:model",
        ratio=RATIO,
        calibration=CalibrationSpec(
            source="local:calibration.jsonl", samples=8, sequence_length=64
        ),
        evaluation=EvaluationSpec(max_tokens=256, inference=InferenceSpec(repeats=repeats)),
    )
    rows = list(compare([_timed(spec) for _ in range(jobs)]))
    for row in rows:
        console.print("  ".join(str(value) for value in row.values()))
    settings = {"ratio": RATIO, "jobs": jobs, "repeats": repeats, "threads": 1}
    console.print(f"written: {results.write('latency', settings, rows)}")


def compare(jobs: Sequence[Sequence[Latency]]) -> Iterator[dict[str, Any]]:
    """One row a model, batch size and measure: all medians, their distance, the stated spreads."""
    for timings in zip(*jobs, strict=True):
        for field, spread in FIELDS:
            medians = [getattr(one, field) for one in timings]
            apart = max(abs(a - b) for a, b in combinations(medians, 2))
            stated = [getattr(one, spread) for one in timings]
            yield {
                "model": timings[0].model,
                "batch": timings[0].batch,
                "measure": field,
                "medians": ", ".join(f"{value:.3g}" for value in medians),
                "apart": apart,
                "stated spreads": ", ".join(f"{value:.3g}" for value in stated),
                "within": "yes" if apart <= max(stated) else "no",
            }


def _timed(spec: PruneSpec) -> list[Latency]:
    from slimgpt.pipeline import run

    roots = Roots(EXAMPLES, EXAMPLES / "model" / "texts")
    with tempfile.TemporaryDirectory() as folder:
        events = run(spec, Path(folder) / "work", roots, "cpu", resume=False)
        return [event for event in events if isinstance(event, Latency)]


if __name__ == "__main__":
    typer.run(latency)
