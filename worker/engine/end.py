"""The last words of a failed engine, as its job's owner may read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from jobs.logs.machine_paths import without_rooted
from jobs.logs.redaction import for_clients
from jobs.store.engine_logs import EngineEnd
from worker.engine.memory import MemoryWatch
from worker.engine.process import EngineProcess

MOST_LINES = 100
LINE_CHARACTERS = 500
_ENDS = re.compile(r"[\r\n]+")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\S ]|[\x00-\x1f\x7f-\x9f]")


def engine_end(engine: EngineProcess, watch: MemoryWatch, attempt: int, where: str) -> EngineEnd:
    """How an engine ended that left no result.

    Args:
        where: what it was doing.
    """
    return EngineEnd(
        attempt=attempt,
        ended_at=datetime.now(UTC).isoformat(),
        where=where,
        exit_status=engine.returncode,
        memory_bytes=watch.memory_bytes,
        peak_bytes=engine.peak_bytes or None,
        available_bytes=watch.available_bytes,
        lines=last_lines(engine.tail),
    )


def last_lines(tail: str) -> list[str]:
    """The last lines of a standard error, without secrets, paths and control codes."""
    lines = (_CONTROL.sub(" ", line).rstrip() for line in _ENDS.split(tail))
    kept = [line for line in lines if line.strip()][-MOST_LINES:]
    return [without_rooted(for_clients(line))[:LINE_CHARACTERS] for line in kept]
