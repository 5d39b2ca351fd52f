"""A finished job's end: its files, its row, its progress, in an order that any crash survives."""

from __future__ import annotations

from jobs.artifacts import Artifacts
from jobs.job import Job
from jobs.progress import Progress
from jobs.store import Store


def remove_job(job: Job, store: Store, artifacts: Artifacts, progress: Progress) -> bool:
    """Remove a finished job with everything that it left.

    Files go first: a removal that was cut off leaves a row, by which it can be asked for again. Of
    a job that may be tried again only the files of the epochs that have been are touched.

    Args:
        job: as it was read; it must be over.

    Returns:
        False if it is gone already, or was tried again meanwhile; then its row stays.

    Raises:
        OSError: the place of artifacts does not answer; ask again.
    """
    folder = f"jobs/{job.id}"
    prefixes = [f"{folder}/{epoch}" for epoch in range(1, job.lease_epoch + 1)]
    for prefix in {*prefixes, job.artifacts_prefix or folder + "/0"}:
        artifacts.delete(prefix)
    if not store.remove(job):
        return False
    artifacts.delete(folder)
    progress.forget(job.id)
    return True
