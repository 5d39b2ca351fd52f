"""Path prefixes of a job's files in the artifact store.

    jobs/ID/EPOCH    what an attempt published
    work/ID/EPOCH    layers that an attempt has finished, for the next to go on from

Every attempt writes below its own epoch alone, so a worker that lost its lease can harm nobody.
"""

from __future__ import annotations

PUBLISHED = "jobs"
LAYERS = "work"


def published(job_id: str, epoch: int) -> str:
    """Where the attempt of an epoch publishes."""
    return f"{PUBLISHED}/{job_id}/{epoch}"


def layers(job_id: str, epoch: int) -> str:
    """Where the attempt of an epoch keeps the layers that it has finished."""
    return f"{LAYERS}/{job_id}/{epoch}"


def folders(job_id: str) -> tuple[str, str]:
    """All that a job has there, of every epoch."""
    return f"{PUBLISHED}/{job_id}", f"{LAYERS}/{job_id}"
