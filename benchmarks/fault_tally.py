"""What hundreds of faults came to: a row a fault, a row of cancels, in the documentation too."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from tests.faults.faults import FAULTS
from tests.faults.judge import Verdict

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- tally -->\n", "<!-- end of tally -->\n"
PROMISED_SECONDS = 2.0


def by_fault(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """A row for each fault that was done, in the order of `FAULTS`, and one for all."""
    rows = [
        _row(fault.meaning, done)
        for name, fault in FAULTS.items()
        if (done := [verdict for verdict in verdicts if verdict.fault == name])
    ]
    return [*rows, _row("all", verdicts)]


def _row(what: str, done: Sequence[Verdict]) -> dict[str, Any]:
    ends = [verdict.status for verdict in done]
    return {
        "fault": what,
        "runs": len(done),
        "with the real engine": sum(verdict.engine == "real" for verdict in done),
        "succeeded": ends.count("succeeded"),
        "failed clearly": ends.count("failed"),
        "cancelled": ends.count("cancelled"),
        "taken up again": sum(verdict.epochs > 1 for verdict in done),
        "violations": sum(bool(verdict.violations) for verdict in done),
        "seconds": round(sum(verdict.seconds for verdict in done)),
    }


def of_cancels(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """How soon a cancel took effect on a working engine, by engine; in seconds."""
    rows = []
    for engine in ("script", "real"):
        times = [v.cancel_times for v in verdicts if v.cancel_times and v.engine == engine]
        if times:
            gone = [time.engine_gone for time in times]
            told = [time.cancelled for time in times]
            rows.append({"engine": engine, "cancels": len(times), **_spread("engine gone", gone),
                         **_spread("status cancelled", told),
                         "within 2 s": sum(one <= PROMISED_SECONDS for one in told)})  # fmt: skip
    return rows


def _spread(what: str, seconds: Sequence[float]) -> dict[str, float]:
    return {
        f"{what}, median": round(statistics.median(seconds), 2),
        f"{what}, longest": round(max(seconds), 2),
    }


def write(verdicts: Sequence[Verdict], settings: Mapping[str, Any]) -> Path:
    """Write both results, and the tally into the documentation."""
    cancels = of_cancels(verdicts)
    if cancels:
        results.write("cancel", settings, cancels)
    path = results.write("faults", settings, by_fault(verdicts))
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    measured = results.table(by_fault(verdicts))
    told = f"\n{results.table(cancels)}" if cancels else ""
    PAGE.write_text(f"{before}{BEGIN}\n{measured}{told}\n{END}{after}", encoding="utf-8")
    return path
