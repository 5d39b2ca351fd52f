"""Jobs an hour, and what a job costs the servers, by the number of workers.

    python -m benchmarks.scale

For each number of workers: a PostgreSQL (durable), a Redis, an object store and an API of their
own, real supervisors on threads (`benchmarks.scale.workers`), an engine that prunes nothing
(`tests.faults.engine`: 6 layers of 2 MiB), a queue that never gets empty, and a client that polls.
Everything shares this machine's cores, the engines too.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from sqlalchemy import make_url, text

from benchmarks import results
from benchmarks.load.service import Service, servers
from benchmarks.scale import counters
from benchmarks.scale.clients import Clients
from benchmarks.scale.workers import ROLE
from jobs.store.tables import JOBS
from tests.faults import engine as stand_in
from tests.servers import ObjectStore

THREADS = 8
"""Workers in one process."""
WARM_SECONDS = 600.0
SHOWN_STATEMENTS = 12
console = Console(highlight=False, soft_wrap=True)


def scale(
    workers: Annotated[str, typer.Option(help="Numbers of workers, one run each.")] = "2,8,32",
    layer_seconds: Annotated[float, typer.Option(help="Pause of the engine at a layer.")] = 1.0,
    seconds: Annotated[int, typer.Option(help="Length of a measurement.")] = 60,
    polls: Annotated[float, typer.Option(help="Statuses asked for a second.")] = 10.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two workers, briefly; for tests.")
    ] = False,
) -> None:
    """Run each number; write benchmarks/results/scale.md and .json."""
    if quick:
        workers, layer_seconds, seconds = "2", 0.05, 4
    settings = {
        "layers": stand_in.LAYERS,
        "bytes a layer": stand_in.LAYER_BYTES,
        "seconds a layer": layer_seconds,
        "seconds": seconds,
        "polls a second": polls,
        "cores": psutil.cpu_count(),
        "load average before": round(psutil.getloadavg()[0], 1),
    }
    rows = list[dict[str, Any]]()
    for number in map(int, workers.split(",")):
        with tempfile.TemporaryDirectory(prefix="slimgpt-scale-") as folder:
            row, said = measure(Path(folder), number, layer_seconds, seconds, polls)
        rows.append(row)
        console.print(results.table(_turned([row])), end="")
        if not quick:  # a later run may be cut off
            path = results.write("scale", settings, rows, _turned(rows), _longest(said))
            console.print(f"written: {path}")
    if any(row["requests failed"] for row in rows) or not all(row["jobs done"] for row in rows):
        raise SystemExit("some requests failed, or no job was done")


def _longest(said: Sequence[dict[str, Any]]) -> str:
    shown = results.table(said[:SHOWN_STATEMENTS])
    return f"\nStatements of the last run that took longest, by role:\n\n{shown}"


@contextmanager
def prepared(folder: Path, layer_seconds: float) -> Iterator[tuple[Service, ObjectStore]]:
    """An empty service on servers that count, with the stand-in for an engine."""
    with ExitStack() as stack:
        store = ObjectStore()
        stack.callback(store.close)
        store.start()
        service = stack.enter_context(servers(folder, counters.CountingPostgres))
        assert isinstance(service.postgres, counters.CountingPostgres)
        service.postgres.count(service.engine)
        model = folder / "models" / stand_in.MODEL.removeprefix("local:")
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        url = make_url(service.environment["SLIMGPT_DATABASE_URL"]).set(username="api")
        command = [sys.executable, str(Path(stand_in.__file__)), str(layer_seconds)]
        service.environment |= store.environment | {
            "SLIMGPT_DATABASE_URL": url.render_as_string(False),
            "SLIMGPT_ARTIFACTS_URL": f"s3://{store.new_bucket()}/artifacts",
            "SLIMGPT_ENGINE_COMMAND": json.dumps(command),
            "SLIMGPT_DEVICE": "cpu",
            "SLIMGPT_MIN_FREE_BYTES": "0",
        }
        yield service, store


def measure(
    folder: Path, workers: int, layer_seconds: float, seconds: int, polls: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run with so many workers: its row, and the statements by a job."""
    sizes = [min(THREADS, workers - first) for first in range(0, workers, THREADS)]
    files = [folder / f"claims-{number}" for number in range(len(sizes))]
    busy = [
        ["-m", "benchmarks.scale.workers", str(size), str(file)]
        for size, file in zip(sizes, files, strict=True)
    ]
    with prepared(folder, layer_seconds) as (service, store), service.running(1, *busy) as pids:
        clients = Clients(service, 2 * workers, polls)
        try:
            _await(service, workers, 0.0)  # each has had its first
            counters.reset(service.engine)
            peaks = counters.Peaks(service.engine)
            before, began = counters.snapshot(service, store, pids[0], pids[1:]), time.time()
            peaks.start()
            time.sleep(seconds)
            _await(service, workers, began)
            after, ended = counters.snapshot(service, store, pids[0], pids[1:]), time.time()
            said = counters.statements(service.engine)
            peaks.stop()
            jobs = _done(service, began, ended)
        finally:
            clients.stop()
    after.subtract(before)
    spans = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    claims = [ms for at, ms in spans if began <= at <= ended]
    asked = [ms for at, ms in clients.polls if began <= at <= ended]
    for one in clients.failed[:5]:
        console.print(one)
    row = {
        "workers": workers,
        "jobs done": jobs,
        "jobs an hour": jobs * 3600 / (ended - began),
        **_percentiles("claim", claims),
        **_percentiles("GET status", asked),
        "requests failed": len(clients.failed),
        **_by_job(after, said, jobs),
        "statements a request of the API": _calls(said, "api")
        / max(1, len(asked) + sum(began <= at <= ended for at in clients.posts)),
        "connections, workers": peaks.connections[ROLE],
        "connections, API": peaks.connections["api"],
        "most waiting for a lock": peaks.waiting,
        "deadlocks": after["deadlocks"],
        "load average": psutil.getloadavg()[0],
        "processors in use": _processor_ms(after) / 1000 / (ended - began),
    }  # fmt: skip
    return row, [_statement(one, jobs, ended - began, workers) for one in said]


def _done(service: Service, since: float, until: float = 2e9) -> int:
    """Jobs that ended well in a span of Unix time; database and benchmark share a clock."""
    counted = text(
        f"SELECT count(*) FROM {JOBS.name} WHERE status = 'succeeded' "
        "AND finished_at BETWEEN to_timestamp(:since) AND to_timestamp(:until)"
    )
    with service.engine.connect() as connection:
        return connection.scalar(counted, {"since": since, "until": until}) or 0


def _await(service: Service, jobs: int, since: float) -> None:
    """Wait until so many jobs have ended well; asks seldom, for that is counted as well."""
    over = time.monotonic() + WARM_SECONDS
    while _done(service, since) < jobs:
        if time.monotonic() > over:
            raise TimeoutError(f"{jobs} jobs are not done:\n{service.log.read_text()[-2000:]}")
        time.sleep(1.0)


def _percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles([*values] * 2 or [0.0] * 2, n=100, method="inclusive")
    return {f"{name} p50 ms": cuts[49], f"{name} p99 ms": cuts[98]}


def _by_job(after: Any, said: Sequence[dict[str, Any]], jobs: int) -> dict[str, Any]:
    """What a job costs each server, its client's polls included."""
    per = max(jobs, 1)
    return {
        "statements a job, worker": _calls(said, ROLE) / per,
        "transactions a job": after["transactions"] / per,
        "log (WAL) bytes a job": after["wal_bytes"] / per,
        "updates of the job's row": after["updates"] / per,
        "of these in place (HOT)": after["hot"] / max(after["updates"], 1),
        "PostgreSQL, processor ms a job": after["postgres cpu"] / per,
        "Redis commands a job": after["redis commands"] / per,
        "Redis bytes kept a job": after["redis bytes"] / per,
        "Redis, processor ms a job": after["redis cpu"] / per,
        "object store requests a job": after["requests"] / per,
        "object store, processor ms a job": after["store cpu"] / per,
        "API, processor ms a job": after["api cpu"] / per,
        "workers and engines, processor ms a job": after["worker cpu"] / per,
    }


def _processor_ms(after: Mapping[str, int]) -> int:
    return sum(value for name, value in after.items() if name.endswith("cpu"))


def _calls(said: Sequence[dict[str, Any]], role: str) -> int:
    return sum(one["calls"] for one in said if one["role"] == role)


def _statement(one: dict[str, Any], jobs: int, seconds: float, workers: int) -> dict[str, Any]:
    """A statement as the table shows it."""
    words = " ".join(one["query"].split()).replace("|", "\\|")
    return {
        "role": one["role"],
        "statement": f"`{words[:90]}`",
        "calls a job": one["calls"] / max(jobs, 1),
        "calls a worker a second": one["calls"] / seconds / workers,
        "mean ms": one["ms"] / one["calls"],
    }


def _turned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A column for each run."""
    return [
        {"workers": name, **{f"{row['workers']}": row[name] for row in rows}}
        for name in rows[0]
        if name != "workers"
    ]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    typer.run(scale)
