"""`make demo`: a pruning job from nothing to a smaller model, through the service.

It does what a user would type, and shows what it types: start the service, submit a job,
watch it, download the result, stop the service. Then it loads the dense and the pruned model
with plain transformers and lets both write.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parent
MODEL = EXAMPLES / "model"
OUTPUT = EXAMPLES.parent / "demo-output"
READY = re.compile(r"ready at (http://\S+)")
READY_SECONDS = 120.0
STOP_SECONDS = 60.0
PROMPTS = ("    def __init__(self, ", "# The name of the", "    if not isinstance(")
console = Console(highlight=False)


class DemoError(Exception):
    """The demonstration cannot go on; the message says why, for people."""


def demo(
    ratio: Annotated[float, typer.Option(help="Share of the parameters to remove.")] = 0.3,
    samples: Annotated[int, typer.Option(help="Calibration windows of 256 tokens.")] = 128,
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = OUTPUT,
) -> None:
    """Prune the model that ships with the project and compare it with what it was."""
    try:
        _clear(out)
        with service(out / "service", out / "service.log") as url:
            job = submit(url, ratio, samples)
            watch(url, job)
            download(url, job, out / "pruned")
    except (DemoError, KeyboardInterrupt) as error:
        console.print(str(error) or "interrupted", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    report = json.loads((out / "pruned" / "report.json").read_text(encoding="utf-8"))
    show_numbers(report)
    show_samples(out / "pruned")
    show_places(out)


@contextmanager
def service(home: Path, log: Path) -> Iterator[str]:
    """`slimgpt up` on a free port, for the length of a block; gives its address."""
    command = ["up", "--home", str(home), "--models", str(EXAMPLES)]
    command += ["--texts", str(MODEL / "texts"), "--port", "0"]
    _show("Start the service: no server, no account, nothing to install", command)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _slimgpt(command),
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C is the demo's to handle, in order
        )
    try:
        url = _await_address(process, log)
        console.print(f"ready at {url}")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    console.print("\nservice stopped")


def submit(url: str, ratio: float, samples: int) -> str:
    """Post the job; its id."""
    command = ["submit", "--model", "local:model", "--ratio", str(ratio)]
    command += ["--calibration", "local:calibration.jsonl"]
    command += ["--samples", str(samples), "--seq-len", "256"]
    command += ["--eval-text", "local:evaluation.jsonl", "--url", url]
    _show(f"Ask for a model with {ratio:.0%} of its parameters removed", command)
    answer = _run([*command, "--json"], capture=True)
    job = str(json.loads(answer)["id"])
    console.print(f"job {job}")
    return job


def watch(url: str, job: str) -> None:
    """Follow the job to its end, with the client's own bars."""
    command = ["watch", job, "--url", url]
    _show("Watch it", command)
    _run(command)


def download(url: str, job: str, folder: Path) -> None:
    """Bring the checkpoint and its report here."""
    command = ["download", job, str(folder), "--url", url]
    _show("Download the result", command)
    _run(command)


def show_numbers(report: dict[str, Any]) -> None:
    """Dense and pruned side by side, as the service's report says."""
    table = Table(title=f"\n{MODEL.name}: dense and pruned", title_justify="left")
    for name in ("", "dense", "pruned", "change"):
        table.add_column(name, justify="left" if not name else "right")
    for name, unit in (("parameters", "parameters"), ("bytes of weights", "bytes")):
        before, after = (report["model"][f"{unit}_{when}"] for when in ("before", "after"))
        table.add_row(name, f"{before:,}", f"{after:,}", f"{after / before - 1:+.1%}")
    for row in report["perplexity"]:
        name = f"perplexity, {row['tokens']:,} tokens of {row['text']}"
        change = f"{row['pruned'] / row['dense'] - 1:+.1%}"
        table.add_row(name, f"{row['dense']:.2f}", f"{row['pruned']:.2f}", change)
    console.print(table)


def show_samples(pruned: Path) -> None:
    """The same beginnings continued by both models, with the same luck."""
    console.print("\n[bold]What they write[/bold], loaded by plain transformers, seed 0\n")
    for name, folder in (("dense", MODEL), ("pruned", pruned)):
        for prompt, continuation in _continuations(folder):
            console.print(f"[cyan]{name:<7}[/cyan] {prompt}[green]{escape(continuation)}[/green]")
        console.print()


def show_places(out: Path) -> None:
    """Where everything lies."""
    places = {
        "checkpoint": out / "pruned",
        "report": out / "pruned" / "report.json",
        "service": out / "service",
    }
    for name, path in places.items():
        console.print(f"{name:<11} {escape(_short(path))}", soft_wrap=True)


def _continuations(folder: Path) -> Iterator[tuple[str, str]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        torch.manual_seed(0)
        ids = model.generate(**inputs, max_new_tokens=32, do_sample=True, temperature=0.7, top_k=20)
        written = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        yield prompt, " ".join(written.split("\n")).rstrip()


def _await_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := READY.search(log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.1)
    words = log.read_text(encoding="utf-8")
    raise DemoError(f"the service did not start; {_short(log)} says:\n{words}")


def _run(arguments: list[str], *, capture: bool = False) -> str:
    """Run a `slimgpt` command; what it wrote to stdout where captured."""
    stdout = subprocess.PIPE if capture else None
    done = subprocess.run(_slimgpt(arguments), stdout=stdout, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`slimgpt {arguments[0]}` ended with status {done.returncode}")
    return done.stdout or ""


def _slimgpt(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def _show(what: str, arguments: list[str]) -> None:
    typed = shlex.join(["slimgpt", *map(_short, arguments)])
    console.print(f"\n[bold]{what}[/bold]")
    console.print(f"[dim]$ {escape(typed)}[/dim]", soft_wrap=True)


def _short(path: Path | str) -> str:
    """A path, or any other argument, as one would type it here."""
    return str(path).removeprefix(f"{Path.cwd()}/")


def _clear(out: Path) -> None:
    """An empty folder; what an earlier demo left in it goes, nothing else does."""
    if out.exists() and any(out.iterdir()):
        if not (out / "service.log").is_file():
            raise DemoError(f"{out} holds what no demo made; name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    typer.run(demo)
