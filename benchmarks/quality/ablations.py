"""`python -m benchmarks.quality.ablations`: the paper's Tables 5, 6 and 14 and Figure 3, again.

At 50%, without training, as there; 128 calibration windows of 256 tokens unless a row says
otherwise. Rows are kept as they come; see `benchmarks.quality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.quality import calibration_texts
from benchmarks.quality.bench import Bench
from benchmarks.quality.methods import (
    BASIS,
    METHODS,
    RECIPES,
    Case,
    Method,
    Pruned,
    through_pipeline,
)
from benchmarks.quality.subjects import WINDOW, subjects
from benchmarks.quality.table import Table, shown
from slimgpt.errors import SlimGPTError
from slimgpt.machine import precision
from slimgpt.spec.prune import CalibrationSpec
from slimgpt.spec.schedule import ScheduleShape, ScheduleSpec

RATIO, SAMPLES = 0.5, 128
SHAPES: tuple[ScheduleShape, ...] = ("linear", "uniform", "log-decrease", "linear-decrease")
LENGTHS = (64, 128, 512)
AMOUNTS = (32, 512, 1024)
console = Console(highlight=False, soft_wrap=True)


def paper(**fields: Any) -> Method:
    """The paper's recipe with some fields of the specification changed."""
    return through_pipeline(**RECIPES[BASIS], **fields)


def on_text(name: str, recipe: str) -> Method:
    """Calibrated on one of `calibration_texts.TEXTS`."""

    def prune(case: Case) -> Pruned:
        source = f"local:{calibration_texts.make(name, case.subject, case.device)}"
        return _calibrated(case, recipe, source, WINDOW)

    return prune


def in_windows(tokens: int, recipe: str) -> Method:
    """Calibrated in windows of another length."""

    def prune(case: Case) -> Pruned:
        return _calibrated(case, recipe, f"local:{case.subject.calibration}", tokens)

    return prune


def _calibrated(case: Case, recipe: str, source: str, tokens: int) -> Pruned:
    spec = CalibrationSpec(
        source=source, samples=case.samples, sequence_length=tokens, seed=case.seed
    )
    return through_pipeline(**RECIPES[recipe], calibration=spec)(case)


TABLES: Mapping[str, Mapping[str, Method]] = {
    "5": {
        "paper, −DGS": paper(group_size=128),
        "paper, −GCD": paper(head_score="diagonal"),
        "paper, exact scores": paper(head_score="exact"),
    },
    "6": {f"paper, {shape}": paper(schedule=ScheduleSpec(shape=shape)) for shape in SHAPES},
    "14": {
        f"{recipe}, {name}": on_text(name, recipe)
        for name in calibration_texts.TEXTS
        for recipe in RECIPES
    },
    "figure 3": {
        f"{recipe}, {tokens} tokens": in_windows(tokens, recipe)
        for tokens in LENGTHS
        for recipe in RECIPES
    },
}


def ablations(
    model: Annotated[str, typer.Option(help="As of `benchmarks.quality`.")] = "smollm2",
    table: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(TABLES)}, repeatable; unset: all.")
    ] = None,
    ratio: Annotated[float, typer.Option(help="Share of all parameters removed.")] = RATIO,
    seed: Annotated[int, typer.Option(help="Of the calibration windows.")] = 0,
) -> None:
    """Measure, and write benchmarks/results/ablations-MODEL.md and .json."""
    if unknown := set(table or ()) - set(TABLES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(TABLES)}")
    basis = {name: METHODS[name] for name in RECIPES}
    parts = [TABLES[name] for name in table or TABLES]
    methods = basis | {name: method for part in parts for name, method in part.items()}
    asked = [(SAMPLES, list(methods))]
    if not table or "figure 3" in table:
        asked += [(samples, list(basis)) for samples in AMOUNTS]
    device = precision.device_for("auto")
    try:
        for subject in subjects(model):
            bench = Bench(subject, device, methods=methods)
            name = f"ablations-{subject.model}"
            kept = Table(subject.model, bench.settings, name, over="samples")
            for samples, names in asked:
                cells = [(ratio, name) for name in names]
                for row in bench.rows(cells, samples, seed, [*kept.rows]):
                    kept.add(row)
                    console.print(row["method"], samples, row["perplexity"], row["note"])
            console.print(f"\n{results.table(shown(kept.rows))}\nwritten: {kept.page}")
    except SlimGPTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(ablations)
