"""How long requests take while Redis hangs: `python -m benchmarks.hung_redis`.

Starts `slimgpt up` on a home of its own, stops its Redis where it stands (SIGSTOP) while a job
runs, and sends each kind of request, a different one first in each round: the first is the one that
finds out. Then the job is cancelled, and Redis goes on.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import psutil
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.hostile.bodies import VALID
from tests.servers import wait_until
from tests.up import Up

MOST_ADDED_MS, CANCEL_MS = 1000.0, 2000.0
"""What a Redis that hangs may add to an answer; to the end of a job that is cancelled."""
NOTHING = [sys.executable, "-S", "-c", "import time; time.sleep(3600)"]
REQUESTS = (
    *("GET /healthz", "GET /jobs", "GET /jobs/{id}", "GET /jobs/{id}/status"),
    *("GET /readyz", "GET /overview", "POST /jobs"),
)
CANCEL, CANCELLED = "POST /jobs/{id}/cancel", "until the job is cancelled"
console = Console(highlight=False, soft_wrap=True)


class Taken(NamedTuple):
    """One request, or what it waited for."""

    what: str
    hung: bool
    status: int
    ms: float


def hung_redis(
    rounds: Annotated[int, typer.Option(min=1, help="Times that Redis is stopped.")] = 14,
) -> None:
    """Measure, write benchmarks/results/hung_redis.md, and fail where a bound does not hold."""
    load, taken = psutil.getloadavg()[0], list[Taken]()
    with tempfile.TemporaryDirectory() as folder:
        engine = {"SLIMGPT_ENGINE_COMMAND": json.dumps(NOTHING)}
        up = Up(Path(folder) / "home", settings=engine)
        up.start()
        try:
            for number in range(rounds):
                first = number % len(REQUESTS)
                taken += _round(up, REQUESTS[first:] + REQUESTS[:first])
        finally:
            up.close()
    rows = [_row(what, taken) for what in (*REQUESTS, CANCEL, CANCELLED)]
    settings = {
        "rounds": rounds,
        "cores": psutil.cpu_count(),
        "load average before": round(load, 1),
    }
    console.print(results.table(rows), end="")
    console.print(f"written: {results.write('hung_redis', settings, rows)}")
    if missed := [row["request"] for row in rows if row["holds"] == "no"]:
        raise SystemExit(f"does not hold: {', '.join(missed)}")


def _round(up: Up, requests: Sequence[str]) -> Iterator[Taken]:
    """Each request with Redis and without, and a cancel with and without."""
    for hung in (False, True):
        job = up.post(VALID["/jobs"]).json()["id"]
        wait_until(partial(_is, up, job, "running"), "the job runs")
        with _stopped(up) if hung else _untouched():
            for what in requests:
                yield _taken(up, what, job, hung)
            for posted in up.get("/jobs?status=queued")["items"]:  # else the worker takes it next
                up.http.post(f"/jobs/{posted['id']}/cancel").raise_for_status()
            began = time.perf_counter()
            yield _taken(up, CANCEL, job, hung)
            wait_until(partial(_is, up, job, "cancelled"), "it is cancelled")
            yield Taken(CANCELLED, hung, 0, (time.perf_counter() - began) * 1e3)
        wait_until(lambda: up.http.get("/readyz").is_success, "Redis is asked again")


def _is(up: Up, job: str, status: str) -> bool:
    return bool(up.get(f"/jobs/{job}")["status"] == status)


def _taken(up: Up, what: str, job: str, hung: bool) -> Taken:
    method, path = what.replace("{id}", job).split()
    body = VALID["/jobs"] if what == "POST /jobs" else None
    began = time.perf_counter()
    answer: httpx.Response = up.http.request(method, path, json=body)
    return Taken(what, hung, answer.status_code, (time.perf_counter() - began) * 1e3)


@contextmanager
def _stopped(up: Up) -> Iterator[None]:
    assert up.process is not None
    (redis,) = (p for p in up.process.children() if "valkey" in p.name() or "redis" in p.name())
    redis.suspend()
    try:
        yield
    finally:
        redis.resume()


@contextmanager
def _untouched() -> Iterator[None]:
    yield


def _row(what: str, taken: Sequence[Taken]) -> dict[str, Any]:
    ms: defaultdict[bool, list[float]] = defaultdict(list)
    statuses: defaultdict[bool, set[int]] = defaultdict(set)
    for one in taken:
        if one.what == what:
            ms[one.hung].append(one.ms)
            statuses[one.hung].add(one.status)
    usual, longest = statistics.median(ms[False]), max(ms[True])
    bound = CANCEL_MS if what == CANCELLED else usual + MOST_ADDED_MS
    return {
        "request": what,
        "answers while it hangs": ", ".join(map(str, sorted(statuses[True] - {0}))),
        "p50 ms": usual,
        "longest ms": max(ms[False]),
        "hung: p50 ms": statistics.median(ms[True]),
        "hung: longest ms": longest,
        "holds": "yes" if longest <= bound else "no",
    }


if __name__ == "__main__":
    typer.run(hung_redis)
