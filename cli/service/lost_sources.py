"""Unfinished jobs of which models or texts are not below the folders of this start."""

from __future__ import annotations

from pathlib import Path

from api.checks.sources import missing_sources
from jobs.states import UNFINISHED
from jobs.store.lists.order import Order
from jobs.store.store import Store
from slimgpt.spec.prune import PruneSpec

NAMED = 3
"""Most jobs that the warning names."""
LOOKED_AT = 200


def warning(store: Store, models: Path, texts: Path) -> str | None:
    """Which jobs will fail, why, and what to do; None if none will.

    Args:
        store: the database, whose oldest unfinished jobs are looked at: workers take them first.
        models: folder of `local:NAME` models.
        texts: folder of `local:FILE` texts.
    """
    lost: dict[str, str] = {}
    oldest_first = Order(descending=False)
    for summary in store.list(status=UNFINISHED, order=oldest_first, limit=LOOKED_AT).items:
        job = store.get(summary.id)
        if job is None or not isinstance(job.spec, PruneSpec):
            continue
        if faults := missing_sources(job.spec, models, texts):
            lost[job.id] = faults[0].message.partition(";")[0]
    if not lost:
        return None
    count = f"{len(lost)} unfinished job{'s' * (len(lost) != 1)}"
    named = "; ".join(f"{job_id}: {fault}" for job_id, fault in list(lost.items())[:NAMED])
    more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return (
        f"{count} cannot run with --models {models} and --texts {texts} and will fail: {named}"
        f"{more}. Stop, and start with the folders that they were posted for; or retry them "
        "(slimgpt retry ID) when their files are here"
    )
