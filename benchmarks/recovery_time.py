"""What minutes of recovery buy: perplexity on held-out text for each method, at equal time.

`python -m benchmarks.recovery_time smollm2 --minutes 5 --minutes 30` prunes a real model once per
ratio, then recovers the same pruned model by labels and by distillation, by adapters and in whole
layers, each within the same time. Texts are those of `benchmarks.quality`: what is calibrated and
trained on is not measured on. The machine must be free.
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
from benchmarks.quality.subjects import WINDOW, Subject, subject
from slimgpt.events import Perplexity
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.recovery import Method, Weights

METHODS, WEIGHTS = [*get_args(Method)], [*get_args(Weights)]
TOKENS = 32_768  # of each held-out text
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
    one = subject(model)
    settings = {"recipe": recipe, "windows": windows, "text": one.calibration}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / one.folder.name).symlink_to(one.folder)
        for share in ratio:
            arms = [*product(minutes, method, weights)]
            for row in measure(place, one, share, arms, recipe, windows):
                console.print("  ".join(f"{key} {value}" for key, value in row.items()))
                rows.append(row)
                path = results.write(f"recovery-time-{one.model}", settings, rows)
    console.print(f"written: {path}")


def measure(
    place: Path,
    one: Subject,
    ratio: float,
    arms: list[tuple[float, str, str]],
    recipe: str,
    windows: int,
) -> Iterator[dict[str, Any]]:
    """One row for each time, method and weights; each recovers the same pruned model.

    Args:
        place: a folder with a link to the dense model.
    """
    pruned, dense = f"pruned-{ratio:g}", f"local:{one.folder.name}"
    calibration = {
        "source": f"local:{one.calibration}",
        "samples": windows,
        "sequence_length": WINDOW,
    }
    pruning = {"model": dense, "ratio": ratio, "recipe": recipe, "calibration": calibration}
    before = _job(place, one, pruned, pruning)
    for limit, method, weights in arms:
        recovery = {
            "source": calibration["source"],
            "minutes": limit,
            "method": method,
            "weights": weights,
            "rank": 32,
            "dropout": 0.0,
            **({"teacher": dense} if method == "distillation" else {}),
        }
        again = {"model": f"local:{pruned}/checkpoint", "ratio": 0.0, "recovery": recovery}
        name = f"{pruned}-{limit:g}-{method}-{weights}"
        few = {**calibration, "samples": 4}
        found = _job(place, one, name, {**again, "calibration": few})
        report = json.loads((place / name / "checkpoint" / "report.json").read_bytes())["recovery"]
        yield {
            "ratio": ratio,
            "minutes": limit,
            "method": method,
            "weights": weights,
            **_perplexities(before, found),
            "rate": report["learning_rate"],
            "steps": report["steps"],
            "batch": report["batch_size"],
            "seconds": report["seconds"],
        }


def _perplexities(before: dict[str, Perplexity], found: dict[str, Perplexity]) -> dict[str, float]:
    """Of the dense, the pruned and the recovered model, by text."""
    values = {}
    for text, measured in found.items():
        values[f"{text}, dense"] = round(before[text].dense, 2)
        values[f"{text}, pruned"] = round(before[text].pruned, 2)
        values[f"{text}, recovered"] = round(measured.recovered or measured.pruned, 2)
    return values


def _job(place: Path, one: Subject, name: str, spec: dict[str, Any]) -> dict[str, Perplexity]:
    """Run a job to its end; its perplexities on the held-out texts, by their names."""
    evaluation = {
        "texts": [f"local:{file}" for file in one.held_out.values()],
        "sequence_lengths": [WINDOW],
        "max_tokens": TOKENS,
    }
    whole = PruneSpec.model_validate({**spec, "evaluation": evaluation})
    events = list(run(whole, place / name, Roots(place, one.texts, confined=False), "cpu"))
    found = [event for event in events if isinstance(event, Perplexity)]
    return dict(zip(one.held_out, found, strict=True))


if __name__ == "__main__":
    typer.run(recovery_time)
