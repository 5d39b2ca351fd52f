"""`make demo`: a pruning job from nothing to a smaller model, through the service.

It does what a user would type, and shows what it types: start the service, submit a job,
watch it, download the result, stop the service. Then it loads the dense and the pruned model
with plain transformers and lets both write. `make demo MODEL=smollm2` does so with a real model of
135 million parameters, which recovers by distillation, and compares both in llama.cpp.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from examples.demo import generation
from examples.demo.service import (
    DemoError,
    console,
    download,
    run,
    service,
    short,
    show,
    submit,
    watch,
)
from examples.demo.subjects import EXAMPLES, Subject, bundled, real
from slimgpt.errors import SlimGPTError
from slimgpt.machine import threads

OUTPUT = EXAMPLES.parent / "demo-output"


def demo(
    model: Annotated[
        str | None, typer.Option(help="A real model of benchmarks.models, such as smollm2.")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Share of the parameters to remove: 0.3, or 0.2.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Calibration windows of 256 tokens.")] = 128,
    minutes: Annotated[
        float | None, typer.Option(help="Of recovery, for a real model: 5; 0: none.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = OUTPUT,
) -> None:
    """Prune a model, the one that ships with the project or a real one, and compare them."""
    began = time.monotonic()
    subject = bundled() if model is None else real(model)
    minutes = subject.minutes if minutes is None else minutes
    try:
        _clear(out)
        dense = _obtained(subject, model)
        arguments = _job(subject, dense, subject.ratio if ratio is None else ratio, samples)
        if minutes and model is not None:
            arguments += _recovery(subject, minutes)
        with service(out / "service", out / "service.log", dense.parent, subject.texts) as url:
            job = submit(url, "Ask for a smaller model", arguments)
            watch(url, job)
            download(url, job, out / "pruned")
        report = json.loads((out / "pruned" / "report.json").read_text(encoding="utf-8"))
        show_numbers(dense.name, report)
        show_samples(subject, dense, out / "pruned")
        if subject.gguf:
            show_speed(dense, out)
    except (DemoError, SlimGPTError, KeyboardInterrupt) as error:
        console.print(str(error) or "interrupted", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    show_places(out)
    console.print(f"\nall of it took {(time.monotonic() - began) / 60:.1f} minutes")


def show_numbers(name: str, report: dict[str, Any]) -> None:
    """Dense and pruned side by side, as the service's report says."""
    table = Table(title=f"\n{name}: dense and pruned", title_justify="left")
    recovered = any(row.get("recovered") is not None for row in report["perplexity"])
    for column in ("", "dense", "pruned", *(["recovered"] if recovered else []), "change"):
        table.add_column(column, justify="left" if not column else "right")
    for what, unit in (("parameters", "parameters"), ("bytes of weights", "bytes")):
        before, after = (report["model"][f"{unit}_{when}"] for when in ("before", "after"))
        same = [f"{after:,}"] * (2 if recovered else 1)
        table.add_row(what, f"{before:,}", *same, f"{after / before - 1:+.1%}")
    for row in report["perplexity"]:
        what = f"perplexity, {row['tokens']:,} tokens of {row['text']}"
        values = [row["dense"], row["pruned"], *([row["recovered"]] if recovered else [])]
        cells = [f"{value:.2f}" for value in values]
        table.add_row(what, *cells, f"{values[-1] / values[0] - 1:+.1%}")
    console.print(table)
    if recovered:
        console.print(report["verdict"], markup=False, soft_wrap=True)


def show_samples(subject: Subject, dense: Path, pruned: Path) -> None:
    """The same beginnings continued by all models."""
    how = "with the same luck, seed 0" if subject.sampled else "the most probable token each time"
    console.print(f"\n[bold]What they write[/bold], loaded by plain transformers, {how}\n")
    before = pruned / "unrecovered"
    folders = {"dense": dense, "pruned": pruned}
    if before.is_dir():
        folders = {"dense": dense, "pruned": before, "recovered": pruned}
    for name, folder in folders.items():
        written = generation.continuations(folder, subject.prompts, sampled=subject.sampled)
        for prompt, continuation in written:
            told = f"{escape(prompt)}[green]{escape(continuation)}[/green]"
            console.print(f"[cyan]{name:<9}[/cyan] {told}", soft_wrap=True)
        console.print()


def show_speed(dense: Path, out: Path) -> None:
    """Both models in llama.cpp, on this machine's processors."""
    command = ["export", str(dense), str(out / "dense-gguf"), "--format", "gguf"]
    show("Write the dense model as GGUF, too, for comparison", command)
    run(command)
    count = threads.available()
    table = Table(title=f"\nllama.cpp, {count} threads", title_justify="left")
    for column in ("", "file, MB", "prompt, tokens/s", "writing, tokens/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, folder in (("dense", out / "dense-gguf"), ("pruned", out / "pruned")):
        [file] = sorted(folder.rglob("*.gguf"))
        speed = generation.llama_cpp(file, count)
        cells = (f"{speed.bytes / 1e6:,.0f}", f"{speed.reading:,.1f}", f"{speed.writing:,.1f}")
        table.add_row(name, *cells)
    console.print(table)


def show_places(out: Path) -> None:
    """Where everything lies."""
    places = {
        "checkpoint": out / "pruned",
        "report": out / "pruned" / "report.json",
        "service": out / "service",
    }
    for name, path in places.items():
        console.print(f"{name:<11} {escape(short(path))}", soft_wrap=True)


def _obtained(subject: Subject, model: str | None) -> Path:
    if model is not None:
        console.print("\n[bold]Have the model here[/bold]")
        console.print(f"[dim]$ python -m benchmarks.models {escape(model)}[/dim]")
    return subject.folder()


def _job(subject: Subject, dense: Path, ratio: float, samples: int) -> list[str]:
    """What is asked for, but for recovery."""
    arguments = ["--model", f"local:{dense.name}", "--ratio", str(ratio)]
    arguments += ["--calibration", subject.calibration]
    arguments += ["--samples", str(samples), "--seq-len", "256"]
    arguments += ["--eval-text", subject.evaluation]
    if subject.gguf:
        arguments += ["--eval-seq-len", "256", "--format", "gguf"]
    return arguments


def _recovery(subject: Subject, minutes: float) -> list[str]:
    arguments = ["--recover", subject.calibration, "--recover-method", "distillation"]
    return [*arguments, "--recover-weights", "layers", "--recover-minutes", f"{minutes:g}"]


def _clear(out: Path) -> None:
    """An empty folder; what an earlier demo left in it goes, nothing else does."""
    if out.exists() and any(out.iterdir()):
        if not (out / "service.log").is_file():
            raise DemoError(f"{out} holds what no demo made; name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    typer.run(demo)
