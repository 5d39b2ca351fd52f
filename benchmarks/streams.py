"""How long a status takes while many follow jobs: `python -m benchmarks.streams`.

Starts `slimgpt up` on a home of its own with an engine that says something five times a second, and
asks for the running job's status all the while: with no event stream open, with all of them on that
job, and with each on a job of its own. Who follows is in another process, and so is who asks
`/healthz`. The machine must be idle: what else runs on it shows in the first row.
"""

from __future__ import annotations

import json
import multiprocessing
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.hostile.bodies import VALID
from benchmarks.hostile.clients import watched
from tests.servers import wait_until
from tests.up import Up

STATUS_MS = 100.0
"""The figure that must hold on two idle cores."""
PAUSE_SECONDS = 0.02
OPEN_SECONDS = 120.0
TALKING = """
import itertools, json, time
for n in itertools.count():
    said = {"type": "progress", "stage": "prune", "done": n % 1000, "total": 1000, "what": "rows"}
    print(json.dumps(said), flush=True)
    time.sleep(0.2)
"""
ENGINE = {"SLIMGPT_ENGINE_COMMAND": json.dumps([sys.executable, "-S", "-c", TALKING])}
console = Console(highlight=False, soft_wrap=True)


def streams(
    count: Annotated[int, typer.Option(min=1, help="Event streams.")] = 400,
    seconds: Annotated[float, typer.Option(min=1, help="For which statuses are asked.")] = 15.0,
) -> None:
    """Measure, write benchmarks/results/streams.md, and fail where the figure does not hold."""
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder) / "home", settings={**ENGINE, "SLIMGPT_MAX_ACTIVE_JOBS": "1000000"})
        up.start()
        try:
            jobs = [up.post(VALID["/jobs"]).json()["id"] for _ in range(count)]
            running = wait_until(lambda: _running(up), "a job runs")
            rows = [
                _row(up, "none", running, [], seconds),
                _row(up, "the running job", running, [running] * count, seconds),
                _row(up, "as many jobs", running, jobs, seconds),
            ]
        finally:
            up.close()
    settings = {
        "a status every, s": PAUSE_SECONDS,
        "cores": psutil.cpu_count(),
        "load average before": round(load, 1),
    }
    console.print(f"written: {results.write('streams', settings, rows)}")
    if slow := [row for row in rows if row["/status p99 ms"] > STATUS_MS]:
        named = "; ".join(f"{row['followed']}: {row['/status p99 ms']:.0f} ms" for row in slow)
        raise SystemExit(f"does not hold: {named}")


def _running(up: Up) -> str | None:
    items = up.get("/jobs?status=running")["items"]
    return str(items[0]["id"]) if items else None


def _row(
    up: Up, what: str, running: str, followed: Sequence[str], seconds: float
) -> dict[str, Any]:
    with _following(up.port, followed) as heard, watched(up.port) as waits:
        asked = sorted(_asked(up.port, f"/jobs/{running}/status", seconds))
    statuses = Counter(heard[1:])
    row = {
        "followed": what,
        "streams": len(followed),
        "statuses": ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())),
        "events/s to all": heard[0] / seconds if followed else 0.0,
        "/status requests": len(asked),
        "/status p50 ms": statistics.median(asked) * 1e3,
        "/status p99 ms": asked[len(asked) * 99 // 100] * 1e3,
        "/status longest ms": asked[-1] * 1e3,
        "/healthz longest ms": max(waits) * 1e3,
    }
    console.print("  ".join(f"{key} {value}" for key, value in row.items()))
    return row


def _asked(port: int, path: str, seconds: float) -> list[float]:
    """Seconds of each answer at a path, one after the other."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    waits, over = [], time.monotonic() + seconds
    while time.monotonic() < over:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        waits.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return waits


@contextmanager
def _following(port: int, jobs: Sequence[str]) -> Iterator[list[int]]:
    """Follow jobs in a process of its own, from the first event of each.

    Yields:
        Empty; at the end how many events came meanwhile, and the status of each stream.
    """
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    receiver, sender = context.Pipe(duplex=False)
    arguments = (port, jobs, ready, over, sender)
    process = context.Process(target=_follow, args=arguments, daemon=True)
    process.start()
    sender.close()  # ours: without it the end of the process is seen below
    if not ready.wait(OPEN_SECONDS):
        raise TimeoutError(f"{len(jobs)} streams did not open in {OPEN_SECONDS:.0f} s")
    heard: list[int] = []
    try:
        yield heard
    finally:
        over.set()
        heard += receiver.recv()
        process.join()


def _follow(port: int, jobs: Sequence[str], ready: Event, over: Event, sender: Connection) -> None:
    selector = selectors.DefaultSelector()
    for job in jobs:
        stream = socket.create_connection(("127.0.0.1", port))
        stream.sendall(f"GET /jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        selector.register(stream, selectors.EVENT_READ)
    statuses: dict[int, int] = {}
    events = 0
    while not over.is_set():
        for key, _ in selector.select(0.1):
            said = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
            if key.fd not in statuses:
                statuses[key.fd] = int(said.split(b" ", 2)[1])
            if not said:
                selector.unregister(key.fileobj)
            events += said.count(b"event: ") if ready.is_set() else 0
        if len(statuses) == len(jobs):
            ready.set()
    sender.send([events, *statuses.values()])


if __name__ == "__main__":
    typer.run(streams)
