"""Removes the files, row and progress of a finished job; safe to repeat after a crash."""

from __future__ import annotations

import re

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.messages.progress import Progress
from jobs.store.records import Job, StaleFiles
from jobs.store.store import Store

EPOCH = re.compile(r"\d{1,9}")


def sweep_job(stale: StaleFiles, store: Store, artifacts: Artifacts) -> bool:
    """Remove the unreferenced files of a finished job, and record that in its row.

    Layers kept for a retry stay.

    Returns:
        False if the job was retried or expired in the meantime; then another sweep is needed.

    Raises:
        OSError: the artifact store does not answer; sweep again.
    """
    published, layers = prefixes.folders(stale.id)
    clear(published, stale, artifacts)
    if not stale.layers_kept:
        clear(layers, stale, artifacts)
    return store.swept(stale)


def clear(folder: str, stale: StaleFiles, artifacts: Artifacts) -> list[str]:
    """Remove the files of epochs up to `stale.epoch`, except `stale.kept`; returns their prefixes.

    Files of later epochs, of a job retried in the meantime, are not touched.
    """
    removed = []
    for name in artifacts.children(folder):
        prefix, epoch = f"{folder}/{name}", EPOCH.match(name)  # `3`, or `3.partial`
        if epoch is None or int(epoch[0]) > stale.epoch or prefix == stale.kept:
            continue
        artifacts.delete(prefix)
        removed.append(prefix)
    artifacts.drop_empty(folder)
    return removed


def remove_job(job: Job, store: Store, artifacts: Artifacts, progress: Progress) -> bool:
    """Remove a finished job with its files, row and progress.

    Files first: an interrupted removal leaves the row, so it can be repeated. Only files of past
    epochs are removed before the row, because the job may be retried at the same time.

    Args:
        job: a finished job, as read from the store.

    Returns:
        False if it was already removed, or was retried in the meantime; then its row stays.

    Raises:
        OSError: the artifact store does not answer; repeat the call.
    """
    everything = StaleFiles(job.id, job.lease_epoch, kept=None, expired=True)
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
