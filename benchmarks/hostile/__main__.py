"""How long everybody waits while one client sends hostile bodies, and what they cost in memory.

    python -m benchmarks.hostile

starts `slimgpt up` on a home of its own with an engine that does nothing, posts bodies of a MiB
that are one fault after another, uploads with long lines, a thousand fuzzed bodies, and jobs from
many connections; meanwhile another process asks `/healthz` every 20 ms. The machine must be idle:
what else runs on it shows in the first row, in which nothing is posted.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from benchmarks import results
from benchmarks.hostile.bodies import JSON_TYPE, VALID, fuzzed
from benchmarks.hostile.clients import Answer, Body, post, watched
from tests.api.test_hostile_bodies import EXCESSIVE
from tests.up import Up

STALL_MS, POST_MS, GROWTH_MIB = 100.0, 500.0, 64.0
"""The figures that must hold on two idle cores."""
LINE_BYTES = 8 << 20
LINES = {
    "numbers": b'{"text":"a","more":[%s1]}' % (b"1," * (LINE_BYTES // 2 - 20)),
    "lists": b'{"text":"a","more":[%s1]}' % (b"[]," * (LINE_BYTES // 3 - 20)),
    "escapes": rb'{"text":"%s"}' % (rb"\u00e9" * (LINE_BYTES // 6 - 20)),
    "backslashes": rb'{"text":"%s"}' % (rb"\\" * (LINE_BYTES // 2 - 20)),
    "short lines": b'"a"\n' * (LINE_BYTES // 4),
}
NOTHING = (sys.executable, "-S", "-c", "import time; time.sleep(3600)")
console = Console(highlight=False, soft_wrap=True)


def hostile(
    bodies: Annotated[int, typer.Option(min=1, help="Fuzzed bodies.")] = 1000,
    posts: Annotated[int, typer.Option(min=1, help="Jobs posted at once.")] = 1000,
    connections: Annotated[int, typer.Option(min=1, help="Connections that post jobs.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each large body is sent.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the fuzzed bodies.")] = 1,
) -> None:
    """Measure, write benchmarks/results/hostile.md, and fail where a figure does not hold."""
    large = [Body("/jobs", JSON_TYPE, content) for _, content in EXCESSIVE.values()] * repeats
    lines = [Body("/calibration-sets", "application/x-ndjson", line) for line in LINES.values()]
    random = [Body(address, JSON_TYPE, content) for address, content in fuzzed(bodies, seed)]
    job = Body("/jobs", JSON_TYPE, json.dumps(VALID["/jobs"]).encode())
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder) / "home", settings=_settings())
        up.start()
        try:
            rows = [
                _row(up, "nothing", [], 1),
                _row(up, "bodies of a MiB", large, 1),
                _row(up, "bodies of a MiB, 4 at once", large, 4),
                _row(up, "uploads with lines of 8 MiB", lines, 1),
                _row(up, "fuzzed bodies", random, 1),
                _row(up, "the same again", random, 1),
                _row(up, f"jobs, {connections} at once", [job] * posts, connections),
            ]
        finally:
            up.close()
    settings = {
        "connections": connections,
        "seed": seed,
        "cores": psutil.cpu_count(),
        "load average": round(psutil.getloadavg()[0], 1),
    }
    console.print(f"written: {results.write('hostile', settings, rows)}")
    if missed := list(_missed(rows)):
        raise SystemExit("does not hold: " + "; ".join(missed))


def _settings() -> dict[str, str]:
    return {
        "SLIMGPT_ENGINE_COMMAND": json.dumps(NOTHING),
        "SLIMGPT_MAX_ACTIVE_JOBS": "1000000",
        "SLIMGPT_MAX_WEBHOOKS": "1000000",
        "SLIMGPT_LOG_LEVEL": "warning",
    }


def _row(up: Up, what: str, bodies: Sequence[Body], connections: int) -> dict[str, Any]:
    api = _api(up)
    before = api.memory_info().rss
    with watched(up.port) as waits:
        if bodies:
            answers = post(up.port, bodies, connections)
        else:
            answers = []
            time.sleep(5)
    statuses = Counter(answer.status for answer in answers)
    row = {
        "posted": what,
        "requests": len(answers),
        "statuses": ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items())),
        "5xx": sum(n for status, n in statuses.items() if status >= 500),
        **{f"p{share} ms": _quantile(answers, share) for share in (50, 99)},
        "/healthz p50 ms": statistics.median(waits) * 1e3,
        "/healthz longest ms": max(waits) * 1e3,
        "API memory before, MiB": before / 2**20,
        "after, MiB": api.memory_info().rss / 2**20,
    }
    console.print("  ".join(f"{key} {_short(value)}" for key, value in row.items()))
    return row


def _api(up: Up) -> psutil.Process:
    """The process of the API."""
    assert up.process is not None
    children = up.process.children(recursive=True)
    (found,) = (child for child in children if "api.app" in " ".join(child.cmdline()))
    return found


def _quantile(answers: Sequence[Answer], share: int) -> float:
    seconds = sorted(answer.seconds for answer in answers)
    return seconds[min(len(seconds) - 1, len(seconds) * share // 100)] * 1e3 if seconds else 0.0


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The figures that do not hold."""
    missed = [f"{row['posted']}: {row['5xx']} answers of 5xx" for row in rows if row["5xx"]]
    missed += [
        f"{row['posted']}: /healthz took {row['/healthz longest ms']:.0f} ms"
        for row in rows
        if row["/healthz longest ms"] > STALL_MS and "jobs" not in row["posted"]
    ]
    again, last = rows[-2:]
    if (grown := again["after, MiB"] - again["API memory before, MiB"]) > GROWTH_MIB:
        missed.append(f"memory grew by {grown:.0f} MiB with bodies that it had seen")
    if last["p99 ms"] > POST_MS:
        missed.append(f"{last['posted']}: p99 {last['p99 ms']:.0f} ms")
    return missed


if __name__ == "__main__":
    typer.run(hostile)
