"""`Status`: the states of a job.

    queued → running → succeeded | failed | cancelled
             running → cancelling → cancelled
             running → queued          (the lease expired, or the worker shut down)
             failed | cancelled → queued    (retry)

Later versions may add states; clients must treat an unknown one as not terminal.
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
"""The job has finished; only a retry changes its state."""

UNFINISHED = frozenset(Status) - TERMINAL
"""The job waits for a worker, or has one."""

HELD = frozenset({Status.RUNNING, Status.CANCELLING})
"""A worker holds the job's lease."""
