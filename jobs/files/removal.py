"""The end of what a finished job left: files, row, progress; any crash between is survived."""

from __future__ import annotations

import re

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.messages.progress import Progress
from jobs.store.records import Job, Leftover
from jobs.store.store import Store

EPOCH = re.compile(r"\d{1,9}")


def sweep_job(leftover: Leftover, store: Store, artifacts: Artifacts) -> bool:
    """Remove the files of a job that is over that nothing points at, and note it in its row.

    Layers that are kept for a retry stay.

    Returns:
        False if the job was tried again or has expired meanwhile; then there is more to sweep.

    Raises:
        OSError: the place of artifacts does not answer; sweep again.
    """
    published, layers = prefixes.folders(leftover.id)
    clear(published, leftover, artifacts)
    if not leftover.layers_kept:
        clear(layers, leftover, artifacts)
    return store.swept(leftover)


def clear(folder: str, leftover: Leftover, artifacts: Artifacts) -> list[str]:
    """Remove what epochs that have been left below a folder, but for what is kept; their prefixes.

    What a later epoch writes, of a job that was tried again meanwhile, is not touched.
    """
    removed = []
    for name in artifacts.children(folder):
        prefix, epoch = f"{folder}/{name}", EPOCH.match(name)  # `3`, or `3.partial`
        if epoch is None or int(epoch[0]) > leftover.epoch or prefix == leftover.kept:
            continue
        artifacts.delete(prefix)
        removed.append(prefix)
    artifacts.drop_empty(folder)
    return removed


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
    everything = Leftover(job.id, job.lease_epoch, kept=None, expired=True)
    for folder in prefixes.folders(job.id):
        clear(folder, everything, artifacts)
    if job.artifacts_prefix is not None:
        artifacts.delete(job.artifacts_prefix)
    if not store.remove(job):
        return False
    for folder in prefixes.folders(job.id):
        artifacts.delete(folder)
    progress.forget(job.id)
    return True
