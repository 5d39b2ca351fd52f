"""Requests per second and latency of a running service, and how they grow with its table.

    python -m benchmarks.load

starts PostgreSQL, Redis, API processes and simulated workers on this machine, fills the table of
jobs to each size, and lets locust's clients at it: pollers of `/status`, a few that post and a few
that list. Clients and servers share the machine's cores. Needs locust, in the extra `bench`.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.load.service import Service, servers

USERS = Path(__file__).with_name("users.py")
SETTLE_SECONDS = 10
console = Console(highlight=False, soft_wrap=True)


def load(
    sizes: Annotated[str, typer.Option(help="Finished jobs in the table, one run each.")] = (
        "100,10000"
    ),
    pollers: Annotated[int, typer.Option(help="Clients that poll a job's status.")] = 1000,
    poll_seconds: Annotated[float, typer.Option(help="Pause of a poller.")] = 25.0,
    posts: Annotated[float, typer.Option(help="Jobs posted a second.")] = 2.0,
    seconds: Annotated[int, typer.Option(help="Length of a run.")] = 30,
    api_processes: Annotated[int, typer.Option(help="Processes of the API.")] = 2,
    workers: Annotated[int, typer.Option(help="Simulated workers.")] = 8,
) -> None:
    """Run each size; write benchmarks/results/load.md and .json."""
    if find_spec("locust") is None:
        raise SystemExit(
            "locust is missing: .venv/bin/uv pip install -c constraints.txt -e '.[bench]'"
        )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as service:
        ids = Path(folder) / "ids"
        ids.write_text("\n".join(service.post(pollers)))
        for size in map(int, sizes.split(",")):
            service.fill(size)
            environment = {
                **os.environ,
                "LOAD_KEY": service.key,
                "LOAD_JOBS": str(ids),
                "LOAD_POLL_SECONDS": str(poll_seconds),
                "LOAD_POSTS": str(posts),
            }
            busy = ["-m", "benchmarks.load.workers", str(workers), "1.0"]
            with service.running(api_processes, busy):
                rows += _run(service, pollers, seconds, environment, size, Path(folder))
    settings = {
        "pollers": pollers,
        "a poll every, s": poll_seconds,
        "API processes": api_processes,
        "simulated workers": workers,
        "seconds": seconds,
        "cores": psutil.cpu_count(),
    }
    console.print(f"written: {results.write('load', settings, rows)}")
    if any(row["failed"] for row in rows):
        raise SystemExit("some requests failed")


def _run(
    service: Service,
    pollers: int,
    seconds: int,
    environment: dict[str, str],
    size: int,
    folder: Path,
) -> list[dict[str, Any]]:
    """One run of locust against one size of the table; a row for each kind of request."""
    out = folder / f"size-{size}"
    clients = pollers + 15  # those who post and list
    command = [sys.executable, "-m", "locust", "-f", str(USERS), "--headless", "--only-summary"]
    command += ["--users", str(clients), "--spawn-rate", str(clients / SETTLE_SECONDS)]
    command += ["--run-time", f"{seconds + SETTLE_SECONDS}s", "--reset-stats"]
    command += ["--host", service.url, "--csv", str(out), "--exit-code-on-error", "0"]
    with (folder / "locust.log").open("ab") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"locust failed:\n{(folder / 'locust.log').read_text()[-2000:]}")
    rows = []
    with Path(f"{out}_stats.csv").open() as table:
        for line in csv.DictReader(table):
            if line["Name"] == "Aggregated":
                continue
            row = {
                "jobs in the table": size,
                "request": line["Name"],
                "requests/s": float(line["Requests/s"]),
                "p50 ms": float(line["50%"]),
                "p99 ms": float(line["99%"]),
                "requests": int(line["Request Count"]),
                "failed": int(line["Failure Count"]),
            }
            console.print("  ".join(f"{key} {value}" for key, value in row.items()))
            rows.append(row)
    return rows


if __name__ == "__main__":
    typer.run(load)
