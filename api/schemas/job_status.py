"""Builds a job's status from its row (authoritative) and Redis progress (finer)."""

from __future__ import annotations

from api.schemas.jobs import StatusView
from jobs.messages.progress import ProgressReader
from jobs.messages.snapshot import Snapshot
from jobs.states import HELD, Status
from jobs.store.records import Job, StatusRow


async def status_now(job: Job | StatusRow, reader: ProgressReader) -> StatusView:
    """The status of a job, with its progress from Redis.

    Redis is read only for a job that a worker holds; without it the status is that of the row.
    """
    return job_status(job, await reader.read(job.id) if job.status in HELD else None)


def job_status(job: Job | StatusRow, snapshot: Snapshot | None) -> StatusView:
    """The status of a job.

    Args:
        job: the current row.
        snapshot: the progress in Redis, if a worker holds the job.
    """
    layers_total = job.layers_total or (snapshot.layers_total if snapshot else None)
    return StatusView.model_validate(
        {
            "id": job.id,
            "status": job.status,
            "stage": (snapshot.stage if snapshot else None) or job.stage,
            "step": (snapshot.step if snapshot else None) or None,
            "layers_done": max(job.layers_done, snapshot.layers_done if snapshot else 0),
            "layers_total": layers_total,
            "percent": _percent(job, snapshot),
            "eta_seconds": snapshot.eta_seconds if snapshot else None,
            "attempt": job.attempt,
            "error": job.error,
        }
    )


def _percent(job: Job | StatusRow, snapshot: Snapshot | None) -> float:
    if job.status == Status.SUCCEEDED:
        return 100.0
    if snapshot is not None:
        return round(min(99.9, max(0.0, snapshot.percent)), 1)
    if job.layers_total:
        # Pruning is most of the work; the row has no progress of the other stages.
        return round(90.0 * job.layers_done / job.layers_total, 1)
    return 0.0
