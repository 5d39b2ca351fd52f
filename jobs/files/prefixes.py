"""Path prefixes of a job's files in the artifact store.

    jobs/ID/EPOCH    files published by an attempt
    work/ID/EPOCH    layers finished by an attempt, from which the next one resumes

Every attempt writes below its own epoch only, so a worker that lost its lease cannot overwrite
another's files.
"""

from __future__ import annotations

PUBLISHED = "jobs"
LAYERS = "work"


def published(job_id: str, epoch: int) -> str:
    """The prefix of the files published by the attempt of an epoch."""
    return f"{PUBLISHED}/{job_id}/{epoch}"


def layers(job_id: str, epoch: int) -> str:
    """The prefix of the layers finished by the attempt of an epoch."""
    return f"{LAYERS}/{job_id}/{epoch}"


def folders(job_id: str) -> tuple[str, str]:
    """The folders of a job's published files and layers, of all epochs."""
    return f"{PUBLISHED}/{job_id}", f"{LAYERS}/{job_id}"
