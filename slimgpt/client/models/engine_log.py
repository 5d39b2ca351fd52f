"""The end of a failed engine as the API answers it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from slimgpt.client.models.base import Model, Rows
from slimgpt.spec.sizes import short_size


class EngineLog(Model):
    """How a job's last failed engine ended; all None, and no lines, if none has failed.

    Attributes:
        where: what it was doing.
        exit_status: of its process; negative for a signal.
        memory_bytes, peak_bytes: its resident memory at the end, and at most.
        available_bytes: what the worker's machine had left then.
        lines: the last of its standard error.
    """

    attempt: int | None = None
    ended_at: datetime | None = None
    where: str | None = None
    exit_status: int | None = None
    memory_bytes: int | None = None
    peak_bytes: int | None = None
    available_bytes: int | None = None
    lines: Sequence[str] = ()

    def rows(self) -> Rows:
        """As a table."""
        sizes = (self.memory_bytes, self.peak_bytes, self.available_bytes)
        names = ("memory", "peak memory", "memory left")
        facts = {
            "attempt": self.attempt,
            "ended": self.ended_at and f"{self.ended_at:%Y-%m-%d %H:%M:%S}",
            "where": self.where,
            "exit status": self.exit_status,
            **{
                name: None if size is None else short_size(size)
                for name, size in zip(names, sizes, strict=True)
            },
            "standard error": "\n".join(self.lines) or None,
        }
        return Rows((), [(name, str(value)) for name, value in facts.items() if value is not None])
