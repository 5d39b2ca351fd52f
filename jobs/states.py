"""`Status`: the states of a job.

    queued → running → succeeded | failed | cancelled
             running → cancelling → cancelled
             running → queued          (the lease expired, or the worker shut down on purpose)
             failed | cancelled → queued    (somebody asked for it)

The words may grow; clients treat one that they do not know as not terminal.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
"""A job in one of these changes its state only when somebody asks to try it again."""

UNFINISHED = frozenset(Status) - TERMINAL
"""A job in one of these waits for a worker, or has one."""

HELD = frozenset({Status.RUNNING, Status.CANCELLING})
"""A worker holds the job's lease."""
