"""What recovery gives back: perplexity of dense, pruned and recovered model on held-out text.

`python -m benchmarks.recovery` prunes two trained models at 20%, 33% and 50%, by the logarithmic
schedule and without a residual target, in one sweep for each method of recovery, which trains on
the calibration text and is measured on text that neither saw. It must lower perplexity in every
case, or the benchmark fails.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.quality import Subject, subjects
from slimgpt.events import Event, Perplexity
from slimgpt.spec.prune import PruneSpec, RecoverySpec
from slimgpt.spec.recovery import Method

RATIOS = (0.2, 0.33, 0.5)
COURSE = {"epochs": 1.0, "learning_rate": 4e-3, "batch_size": 16, "rank": 32, "alpha": 64.0,
          "dropout": 0.0, "sequence_length": 256}  # fmt: skip
console = Console(highlight=False, soft_wrap=True)


def recovery(
    model: Annotated[str | None, typer.Option(help="Measure this one only.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of 256 tokens to train on.")] = 384,
    windows: Annotated[int, typer.Option(help="Calibration windows of 256 tokens.")] = 128,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
) -> None:
    """Measure both methods and write benchmarks/results/recovery-MODEL.md and .json."""
    torch.set_num_threads(threads)
    settings = {"windows": windows, "rows": rows, "threads": threads, **COURSE}
    for subject in subjects(model):
        measured = []
        for row in measure(subject, rows, windows):
            console.print("  ".join(str(value) for value in row.values()))
            measured.append(row)
        console.print(f"written: {results.write(f'recovery-{subject.model}', settings, measured)}")
        if worse := [row for row in measured if row["recovered"] >= row["pruned"]]:
            raise ValueError(f"{subject.model}: recovery lowered nothing in {worse}")


def measure(subject: Subject, rows: int, windows: int) -> Iterator[dict[str, Any]]:
    """One row a method and ratio."""
    for method in get_args(Method):
        began = time.monotonic()
        found = [event for event in _run(subject, method, rows, windows)
                 if isinstance(event, Perplexity)]  # fmt: skip
        minutes = (time.monotonic() - began) / 60
        for ratio, one in zip(RATIOS, found, strict=True):
            assert one.recovered is not None
            back = (one.pruned - one.recovered) / (one.pruned - one.dense)
            yield {
                "ratio": ratio,
                "method": method,
                "dense": one.dense,
                "pruned": one.pruned,
                "recovered": one.recovered,
                "of the rise undone": f"{back:.0%}",
                "minutes of all three": round(minutes, 1),
            }


def _run(subject: Subject, method: Method, rows: int, windows: int) -> Iterator[Event]:
    from slimgpt.pipeline import run

    lessons = RecoverySpec(
        method=method, source=f"local:{subject.calibration}", samples=rows, **COURSE
    )
    one = subject.spec("slimgpt", RATIOS[0], windows, seed=0, schedule={"shape": "log"})
    spec = PruneSpec.model_validate(
        one.model_dump() | {"ratio": None, "ratios": RATIOS, "recovery": lessons.model_dump()}
    )
    with tempfile.TemporaryDirectory() as folder:
        yield from run(spec, Path(folder) / "work", subject.roots, "cpu", resume=False)


if __name__ == "__main__":
    typer.run(recovery)
