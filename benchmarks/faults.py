"""Faults done to real services at random moments: `python -m benchmarks.faults --runs 200`.

Each run posts a job to a service of real processes (API, two workers, two reapers, PostgreSQL,
Redis), hurts it as one of `tests.faults` says, at a moment that the seed and the run's number
decide, has everything repaired, and checks what must hold. Every tenth run prunes the shipped model
with the real engine, the others have a script that behaves like it; every fifth publishes to an
object store. What is done is kept: the same command goes on where it was cut off.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmarks import fault_tally as tally
from tests.faults.faults import FAULTS
from tests.faults.judge import Verdict, clean_run, judge
from tests.faults.stack import Stack
from tests.faults.trial import SCRIPTED, CancelTimes

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "model"
KEPT = Path(__file__).resolve().parent.parent / "build" / "faults"
REAL: dict[str, Any] = {
    "model": f"local:{EXAMPLE.name}",
    "ratio": 0.3,
    "calibration": {"source": "local:calibration.jsonl", "samples": 4, "sequence_length": 64},
    "evaluation": {"texts": []},
}
FOR_THE_REAL_ENGINE = (
    "engine_killed",
    "child_killed",
    "parent_killed",
    "worker_terminated",
    "machine_stalled",
    "redis_wiped",
    "postgres_restarted",
    "cancelled",
)
ON_AN_OBJECT_STORE = (
    "store_cuts",
    "store_refuses",
    "store_hangs",
    "child_killed",
    "machine_lost",
    "worker_stalled",
    "cancelled",
)
Place = Literal["folder", "object store", "real engine"]
FITTING: dict[Place, tuple[str, ...]] = {
    "folder": tuple(name for name in FAULTS if not name.startswith("store_")),
    "object store": ON_AN_OBJECT_STORE,
    "real engine": FOR_THE_REAL_ENGINE,
}
REAL_EVERY = 10
STORE_EVERY = 5
AS_INSTALLED = {"reap_seconds": "5", "redispatch_seconds": "30", "engine_stop_seconds": "5"}
console = Console(highlight=False, soft_wrap=True)


def faults(
    runs: Annotated[int, typer.Option(help="Runs with a fault each.")] = 200,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 1,
    cancels: Annotated[int, typer.Option(help="Measured cancels under the default lease.")] = 20,
    only: Annotated[int | None, typer.Option("--run", help="Repeat this run alone.")] = None,
) -> None:
    """Do them; write benchmarks/results/faults.md, cancel.md and their .json."""
    signal.signal(signal.SIGTERM, _leave)  # by an exception, so that everything is taken down
    KEPT.mkdir(parents=True, exist_ok=True)
    if only is not None:
        with bench("repeated", on_s3=place_of(only) == "object store") as service:
            console.print(one(service, seed, only))
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        done = run_all(runs, seed, live)
    done = [*done, *measure_cancels(cancels, seed)]
    path = tally.write(done, {"runs": runs, "cancels": cancels, "seed": seed})
    console.print(f"written: {path}")
    if broken := [verdict for verdict in done if verdict.violations]:
        for verdict in broken:
            console.print(f"{verdict.seed} {verdict.fault}: {verdict.violations}")
        raise SystemExit(1)


class Bench:
    """A service with the shipped model and its texts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.stack = Stack(folder / "stack", **options)
        model, texts = self.stack.home / "models" / EXAMPLE.name, self.stack.home / "texts"
        shutil.copytree(EXAMPLE, model, ignore=shutil.ignore_patterns("texts"))
        shutil.copytree(EXAMPLE / "texts", texts, dirs_exist_ok=True)


@cache
def clean(engine: str) -> dict[str, str]:
    """What an engine makes when nobody hurts it."""
    roots = ["--models-root", str(EXAMPLE.parent), "--texts-root", str(EXAMPLE / "texts")]
    with tempfile.TemporaryDirectory(prefix="slimgpt-faults-clean-") as folder:
        if engine == "real":
            return clean_run(Path(folder) / "run", REAL, *roots, "--device", "cpu")
        return clean_run(Path(folder) / "run", SCRIPTED)


@contextmanager
def bench(name: str, **options: Any) -> Iterator[Bench]:
    """A running service in a folder of its own, which is kept if something is violated there."""
    folder = Path(tempfile.mkdtemp(prefix=f"slimgpt-faults-{name}-"))
    made = Bench(folder, **options)
    try:
        made.stack.start()
        yield made
    finally:
        made.stack.close()
        if not (folder / "violated").exists():
            shutil.rmtree(folder, ignore_errors=True)


def place_of(number: int) -> Place:
    """What a run is done to."""
    if number % REAL_EVERY == REAL_EVERY - 1:
        return "real engine"
    return "object store" if number % STORE_EVERY == STORE_EVERY - 2 else "folder"


def chosen(seed: int, number: int) -> str:
    """The fault of a run: those that fit its place in turn, each time in another order."""
    names = list(FITTING[place_of(number)])
    before = sum(place_of(earlier) == place_of(number) for earlier in range(number))
    turn, index = divmod(before, len(names))
    random.Random(f"{seed} {turn} {place_of(number)}").shuffle(names)
    return names[index]


def one(service: Bench, seed: int, number: int) -> Verdict | str:
    """Do a run; a reason why not, if this machine can't."""
    name, real = chosen(seed, number), place_of(number) == "real engine"
    if lacks := FAULTS[name].lacks(service.stack):
        return f"{name}: {lacks}"
    kind, body = ("real", REAL) if real else ("script", None)
    return judge(service.stack, name, f"{seed}-{number}", clean(kind), body)


def run_all(runs: int, seed: int, live: Live) -> list[Verdict]:
    """All runs that are not done yet; after a violation they go on with a new service."""
    file = KEPT / f"seed-{seed}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    done = [verdict_of(json.loads(line)) for line in lines]
    known = {verdict.seed for verdict in done}
    left = [number for number in range(runs) if f"{seed}-{number}" not in known]
    for on_s3 in (False, True):
        todo = [number for number in left if (place_of(number) == "object store") is on_s3]
        while todo:
            with bench("run", on_s3=on_s3) as service:
                for verdict in _until_violated(service, seed, todo):
                    done.append(verdict)
                    with file.open("a", encoding="utf-8") as kept:
                        kept.write(json.dumps(verdict.as_json()) + "\n")
                    live.update(_table(done, runs), refresh=console.is_terminal)
    return done


def _until_violated(service: Bench, seed: int, todo: list[int]) -> Iterator[Verdict]:
    """Do the runs, and take them from the list, until one violates something."""
    while todo:
        number = todo.pop(0)
        verdict = one(service, seed, number)
        if isinstance(verdict, str):
            console.print(f"run {number} left out: {verdict}")
            continue
        if not console.is_terminal:
            console.print(_line(verdict))
        yield verdict
        if verdict.violations:
            return _keep(service, seed, number, verdict)


def _keep(service: Bench, seed: int, number: int, verdict: Verdict) -> None:
    (service.stack.folder.parent / "violated").write_text("\n".join(verdict.violations))
    again = f"{sys.executable} -m benchmarks.faults --seed {seed} --run {number}"
    console.print(f"VIOLATED: {verdict.violations}\nlogs: {service.stack.logs}\nagain: {again}")


def measure_cancels(count: int, seed: int) -> list[Verdict]:
    """Cancels at random moments of a working engine; leases and pauses as they are installed."""
    if not count:
        return []
    done = []
    with bench("cancel", lease_seconds=60.0, settings=AS_INSTALLED) as service:
        for number in range(count):
            real = number % 4 == 3
            kind, body = ("real", REAL) if real else ("script", None)
            name = f"{seed}-cancel-{number}"
            done.append(judge(service.stack, "cancelled_at_work", name, clean(kind), body))
            console.print(_line(done[-1]))
    return done


def verdict_of(values: dict[str, Any]) -> Verdict:
    """A verdict that was kept as JSON."""
    times = values.pop("cancel_times")
    return Verdict(**values, cancel_times=None if times is None else CancelTimes(**times))


def _line(verdict: Verdict) -> str:
    ended = f"{verdict.status} {verdict.code}".strip()
    times = verdict.cancel_times
    more = "" if times is None else f", engine gone after {times.engine_gone:.2f} s"
    return (
        f"{verdict.seed} {verdict.fault} ({verdict.engine}): {ended}, {verdict.epochs} epochs, "
        f"{verdict.seconds:.1f} s{more}" + "".join(f"\n  {one}" for one in verdict.violations)
    )


def _table(done: list[Verdict], runs: int) -> Table:
    rows = tally.by_fault(done)
    table = Table(title=f"{len(done)} of {runs} runs")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    typer.run(faults)
