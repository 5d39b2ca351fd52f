"""What a user waits for before anything is computed: `python -m benchmarks.startup`.

Starts `slimgpt --help` and `slimgpt up`, each ten times, and posts a job to a service: until its
first step over the data (the survey of recipe `measured`) and its first layer. Each wait comes with
the processor seconds that were used in it: on a machine that does other work, they are what can be
compared. Bytecode is written by a first round that does not count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import psutil
import typer
from rich.console import Console

from benchmarks import models, results
from tests.servers import wait_until
from tests.up import Up

ANSWERS = "`GET /jobs/{id}/status` beside the engine"
TEXT, SAMPLES, TOKENS = "local:c4-en-1300.jsonl", 128, 256
STILL_SECONDS = 5.0
"""An engine that has used no processor for so long has done its imports."""
MOST_SECONDS = 900.0
console = Console(highlight=False, soft_wrap=True)


class Wait(NamedTuple):
    """One wait, in seconds, and the processor seconds of all processes in it."""

    seconds: float
    processor: float | None = None


def startup(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is started.")] = 10,
    model: Annotated[str, typer.Option(help="As of `benchmarks.models`.")] = "smollm2",
    posts: Annotated[int, typer.Option(min=1, help="Jobs of each recipe and kind.")] = 10,
) -> None:
    """Measure, and write benchmarks/results/startup.md."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = {
        "model": model,
        "calibration": f"{SAMPLES} × {TOKENS} tokens",
        "cores": psutil.cpu_count(),
        "load average before": round(psutil.getloadavg()[0], 1),
    }
    waits = defaultdict[str, list[Wait]](list)
    folder = models.obtain(model)
    with tempfile.TemporaryDirectory() as name:
        for what, taken in _all(Path(name), folder, rounds, posts):
            waits[what] += taken
            rows = [_row(one, seen) for one, seen in waits.items()]
            path = results.write("startup", settings, rows)  # each time: it may take an hour
            console.print(what, *(f"{wait.seconds:.3g} s" for wait in taken[:10]))
    console.print(f"written: {path}")


def _all(place: Path, folder: Path, rounds: int, posts: int) -> Iterator[tuple[str, list[Wait]]]:
    """Everything that is measured; the first start of each writes bytecode, and is left out."""
    yield "`slimgpt --help`", [_help(place) for _ in range(rounds + 1)][1:]
    homes = [place / f"home-{number}" for number in range(rounds + 1)]
    yield "`slimgpt up` until it is ready", [_up(home) for home in homes][1:]
    for warm in (True, False):
        yield from _jobs(place / f"home-{warm}", folder, posts, warm)


def _help(place: Path) -> Wait:
    command = Up(place / "none").command("--help")
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=models.ROOT)
    seconds, after = time.perf_counter() - began, os.times()
    used = after.children_user - before.children_user
    return Wait(seconds, used + after.children_system - before.children_system)


def _up(home: Path) -> Wait:
    up = Up(home)
    began = time.perf_counter()
    try:
        up.start()
        return Wait(time.perf_counter() - began, _processor(up))
    finally:
        up.close()


def _jobs(home: Path, folder: Path, posts: int, warm: bool) -> Iterator[tuple[str, list[Wait]]]:
    """Jobs of both recipes, by an engine that waits or by one that is started for its job."""
    options = ["--models", str(folder.parent), "--texts", str(models.SHARED / "data/c4")]
    up = Up(home, options, {"SLIMGPT_WARM_ENGINE": str(warm)})
    up.start()
    kind = "engine waits" if warm else "engine started for the job"
    try:
        for recipe, (first, until) in FIRST.items():
            for _ in range(posts):
                if warm:
                    _rest(up)
                wait, answers = _post(up, folder.name, recipe, until)
                yield f"post until {first}, recipe `{recipe}`, {kind}", [wait]
                yield f"{ANSWERS}, {kind}", answers
    finally:
        up.close()


def _surveyed(status: dict[str, Any]) -> bool:
    return str(status["step"] or "").startswith("survey")


def _layer(status: dict[str, Any]) -> bool:
    return bool(status["layers_done"])


FIRST: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "paper": ("the first pruned layer", _layer),
    "measured": ("the first layer of the survey", _surveyed),
}


def _rest(up: Up) -> None:
    """Wait until the engine that waits, with its tokenizer's process, has done its imports."""
    assert up.process is not None
    before, over = 0.0, time.monotonic() + MOST_SECONDS
    while time.monotonic() < over:
        time.sleep(STILL_SECONDS)
        children = up.process.children(recursive=True)
        waiting = [one for one in children if "wait" in _words(one)]
        family = [*waiting, *(child for one in waiting for child in one.children())]
        now = sum(_seconds(family))
        if now == before > 1.0:
            return
        before = now
    raise SystemExit("no engine waits for a job; see the worker's log")


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _post(
    up: Up, model: str, recipe: str, reached: Callable[[dict[str, Any]], bool]
) -> tuple[Wait, list[Wait]]:
    """A job until it has come so far, and how long its status took each time; it is cancelled."""
    calibration = {
        "source": "local:c4-en-1300.jsonl",
        "samples": SAMPLES,
        "sequence_length": TOKENS,
    }
    body = {"model": f"local:{model}", "ratio": 0.2, "recipe": recipe, "calibration": calibration}
    before, began = _processor(up), time.perf_counter()
    job, answers = up.post(body).raise_for_status().json()["id"], list[Wait]()
    while True:
        asked = time.perf_counter()
        status = up.get(f"/jobs/{job}/status")
        answers.append(Wait(time.perf_counter() - asked))
        if reached(status):
            break
        if status["status"] == "failed" or asked - began > MOST_SECONDS:
            raise SystemExit(f"the job does not come so far: {status}")
        time.sleep(0.1)
    wait = Wait(time.perf_counter() - began, _processor(up) - before)
    up.http.post(f"/jobs/{job}/cancel").raise_for_status()
    wait_until(lambda: up.get(f"/jobs/{job}/status")["status"] == "cancelled", "it ends", 120)
    return wait, answers


def _processor(up: Up) -> float:
    """Processor seconds of the processes of `slimgpt up` that live."""
    assert up.process is not None
    return sum(_seconds([up.process, *up.process.children(recursive=True)]))


def _seconds(processes: list[psutil.Process]) -> Iterator[float]:
    for process in processes:
        with suppress(psutil.Error):  # it ended meanwhile
            times = process.cpu_times()
            yield times.user + times.system


def _row(what: str, waits: list[Wait]) -> dict[str, Any]:
    seconds = sorted(wait.seconds for wait in waits)
    used = [wait.processor for wait in waits if wait.processor is not None]
    return {
        "what": what,
        "count": len(seconds),
        "median s": statistics.median(seconds),
        "least s": seconds[0],
        "most s": seconds[-1],
        "processor s, median": statistics.median(used) if used else "",
    }


if __name__ == "__main__":
    typer.run(startup)
