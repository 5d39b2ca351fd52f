"""What minutes of recovery buy: perplexity on held-out C4 for each method, at equal time.

`python -m benchmarks.recovery_time smollm2 --minutes 5 --minutes 30` prunes a real model once per
ratio, then recovers the same pruned model by labels and by distillation, by adapters and in whole
layers, each within the same time. Text is the C4 of `shared/data`: the first documents are
calibrated on and trained on, the last ones are only measured on. The machine must be free.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.models import SHARED, obtain
from slimgpt.events import Perplexity
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.recovery import Method, Weights

C4 = SHARED / "data" / "c4" / "c4-en-1300.jsonl"
HELD_OUT = 150  # documents, the last ones
TRAINING, EVALUATION = "training.jsonl", "evaluation.jsonl"
METHODS, WEIGHTS = [*get_args(Method)], [*get_args(Weights)]
console = Console(highlight=False, soft_wrap=True)


def recovery_time(
    model: Annotated[str, typer.Argument(help="A name of benchmarks.models.")] = "smollm2",
    ratio: Annotated[list[float], typer.Option(help="Share to remove.")] = [0.2],  # noqa: B006
    minutes: Annotated[list[float], typer.Option(help="Of recovery.")] = [30.0],  # noqa: B006
    recipe: Annotated[str, typer.Option(help="Of pruning.")] = "paper",
    windows: Annotated[int, typer.Option(help="Calibration windows of 256 tokens.")] = 128,
    method: Annotated[list[str], typer.Option(help="Repeatable.")] = METHODS,
    weights: Annotated[list[str], typer.Option(help="Repeatable.")] = WEIGHTS,
) -> None:
    """Measure all methods and write benchmarks/results/recovery-time-MODEL.md and .json."""
    settings = {"recipe": recipe, "windows": windows, "text": C4.name, "held out": HELD_OUT}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        split(C4, place)
        dense = obtain(model)
        (place / dense.name).symlink_to(dense)
        for share in ratio:
            arms = [*product(minutes, method, weights)]
            for row in measure(place, dense.name, share, arms, recipe, windows):
                console.print("  ".join(f"{key} {value}" for key, value in row.items()))
                rows.append(row)
                path = results.write(f"recovery-time-{dense.name}", settings, rows)
    console.print(f"written: {path}")


def split(source: Path, place: Path) -> None:
    """Documents to learn from and documents to measure on, as two files."""
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    (place / TRAINING).write_text("".join(lines[:-HELD_OUT]), encoding="utf-8")
    (place / EVALUATION).write_text("".join(lines[-HELD_OUT:]), encoding="utf-8")


def measure(
    place: Path,
    dense: str,
    ratio: float,
    arms: list[tuple[float, str, str]],
    recipe: str,
    windows: int,
) -> Iterator[dict[str, Any]]:
    """One row for each time, method and weights; each recovers the same pruned model."""
    calibration = {"source": f"local:{TRAINING}", "samples": windows, "sequence_length": 256}
    pruning = {"model": f"local:{dense}", "ratio": ratio, "recipe": recipe}
    pruned = f"pruned-{ratio:g}"
    before = _job(place, pruned, {**pruning, "calibration": calibration})
    for limit, method, weights in arms:
        teacher = {"teacher": f"local:{dense}"} if method == "distillation" else {}
        training = {"source": f"local:{TRAINING}", "minutes": limit, "rank": 32, "dropout": 0.0}
        name = f"{pruned}-{limit:g}-{method}-{weights}"
        found = _job(
            place,
            name,
            {
                "model": f"local:{pruned}/checkpoint",
                "ratio": 0.0,
                "calibration": {**calibration, "samples": 4},
                "recovery": {**training, **teacher, "method": method, "weights": weights},
            },
        )
        report = json.loads((place / name / "checkpoint" / "report.json").read_bytes())["recovery"]
        yield {
            "ratio": ratio,
            "minutes": limit,
            "method": method,
            "weights": weights,
            "dense": before.dense,
            "pruned": before.pruned,
            "recovered": found.recovered,
            "over dense": f"{(found.recovered or found.pruned) / before.dense - 1:.1%}",
            "rate": report["learning_rate"],
            "steps": report["steps"],
            "batch": report["batch_size"],
            "seconds": report["seconds"],
        }


def _job(place: Path, name: str, spec: dict[str, Any]) -> Perplexity:
    """Run a job to its end; its perplexity on the held-out documents."""
    evaluation = {
        "texts": [f"local:{EVALUATION}"],
        "sequence_lengths": [256],
        "max_tokens": 32_768,
    }
    whole = PruneSpec.model_validate({**spec, "evaluation": evaluation})
    roots = Roots(place, place, confined=False)
    events = list(run(whole, place / name, roots, "cpu"))
    return next(event for event in events if isinstance(event, Perplexity))


if __name__ == "__main__":
    typer.run(recovery_time)
