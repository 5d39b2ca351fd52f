"""`python -m benchmarks.quality.resources`: seconds and peak memory of every method, side by side.

Every method prunes the same model to the same size with the same windows, each in a fresh process,
one after the other in one run. Time is that of pruning; memory is the most that the process held
until the pruned weights were there, libraries included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.quality.methods import METHODS, Case
from benchmarks.quality.subjects import WINDOW, Subject, subjects
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SlimGPTError
from slimgpt.machine import memory, precision, threads

MIB = 1 << 20
console = Console(highlight=False, soft_wrap=True)


def resources(
    model: Annotated[str, typer.Option(help="As of `benchmarks.quality`.")] = "smollm2",
    ratio: Annotated[float, typer.Option(help="Share of all parameters removed.")] = 0.2,
    method: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(METHODS)}, repeatable; unset: all.")
    ] = None,
    samples: Annotated[int, typer.Option(help=f"Calibration windows of {WINDOW} tokens.")] = 128,
) -> None:
    """Measure, and write benchmarks/results/resources-MODEL.md and .json."""
    methods = method or list(METHODS)
    if unknown := set(methods) - set(METHODS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(METHODS)}")
    try:
        (subject,) = subjects(model)
        rows = []
        for row in _rows(subject, methods, ratio, samples):
            rows.append(row)
            console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    except SlimGPTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    settings = {
        "ratio": ratio,
        "windows": samples,
        "window tokens": WINDOW,
        "threads": threads.available(),
        "load before": round(os.getloadavg()[0], 1),
    }
    path = results.write(f"resources-{subject.model}", settings, rows)
    console.print(f"\n{results.table(rows)}\nwritten: {path}")


def _rows(
    subject: Subject, methods: Sequence[str], ratio: float, samples: int
) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for name in methods:
            yield fresh.submit(measure, subject, name, ratio, samples).result()


def measure(subject: Subject, name: str, ratio: float, samples: int) -> dict[str, Any]:
    """Prune by one method in this process, which should have done nothing else."""
    device = precision.device_for("auto")
    counted = Checkpoint.open(subject.folder).parameters
    case = Case(subject, ratio, samples, 0, counted, device)
    memory.forget_peak(device)
    before, began = memory.peak_bytes(device), os.times()
    row: dict[str, Any] = {"method": name, "parameters": "", "seconds": "", "processor s": ""}
    try:
        pruned = METHODS[name](case)
    except SlimGPTError as error:
        return row | {"peak MiB": "", "libraries MiB": "", "note": f"not possible: {error}"}
    ended = os.times()
    return row | {
        "parameters": pruned.parameters,
        "seconds": round(pruned.seconds, 1),
        "processor s": round(ended.user + ended.system - began.user - began.system, 1),
        "peak MiB": round(pruned.peak_bytes / MIB),
        "libraries MiB": round(before / MIB),
        "note": pruned.note,
    }


if __name__ == "__main__":
    typer.run(resources)
