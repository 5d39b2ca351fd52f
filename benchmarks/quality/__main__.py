"""`python -m benchmarks.quality`: every method at every ratio, on the same text, in one table.

Rows are kept as they come, and a later run goes on where this one ended: a row of the same model,
method, ratio, calibration windows and seed is not measured again. All models are calibrated on the
engine's own windows and measured by the same functions: perplexity and top-1 agreement with the
dense model on held-out text, greedy continuations, and if asked for the seven commonsense tasks.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.quality.bench import Bench
from benchmarks.quality.methods import METHODS
from benchmarks.quality.subjects import WINDOW, subjects
from benchmarks.quality.table import Row, Table, shown
from slimgpt.errors import SlimGPTError
from slimgpt.machine import precision

RATIOS = (0.2, 0.3, 0.5)
console = Console(highlight=False, soft_wrap=True)


def quality(
    model: Annotated[
        str | None, typer.Option(help="smollm2, gemma3 or a hub id; unset: the two small ones.")
    ] = None,
    ratio: Annotated[
        list[float] | None, typer.Option(help="Share removed, repeatable; unset: 0.2, 0.3, 0.5.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(METHODS)}, repeatable; unset: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the calibration windows.")] = 0,
    samples: Annotated[int, typer.Option(help=f"Calibration windows of {WINDOW} tokens.")] = 128,
    tasks: Annotated[int, typer.Option(help="Questions of each commonsense task; 0: none.")] = 0,
    again: Annotated[bool, typer.Option(help="Measure anew what was measured.")] = False,
) -> None:
    """Measure methods and write benchmarks/results/quality-MODEL.md, .json and .svg."""
    methods = method or list(METHODS)
    if unknown := set(methods) - set(METHODS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(METHODS)}")
    cells = [(one, name) for one in sorted(ratio or RATIOS) for name in methods]
    device = precision.device_for("auto")
    try:
        for subject in subjects(model):
            bench = Bench(subject, device, tasks)
            table = Table(subject.model, bench.settings)
            known = [] if again else [*table.rows]
            for row in bench.rows(cells, samples, seed, known):
                table.add(row)
                console.print(f"{subject.model}: {_line(row)}")
            console.print(f"\n{results.table(shown(table.rows))}\nwritten: {table.page}")
    except SlimGPTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _line(row: Row) -> str:
    texts = "  ".join(f"{name} {value:.2f}" for name, value in row["perplexity"].items())
    return f"{row['ratio']:g} {row['method']}: {texts}  {row['seconds']:.0f} s  {row['note']}"


if __name__ == "__main__":
    typer.run(quality)
