"""`Snapshot`: how far a job's attempt is, from the events that its engine said."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from slimgpt.events import Event, LayerFinished, Planned, StageFinished, StageStarted
from slimgpt.events import Progress as Counted

WEIGHTS = {"resolve": 2, "plan": 1, "prune": 80, "evaluate": 12, "verify": 3, "publish": 2}
"""Percent of a job's time that a stage takes, roughly, in the order of the stages."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest state of a job's attempt.

    `percent` runs over all stages, 0 to 100; `eta_seconds` is None until a layer is done, and
    never 0; `layer_seconds` is the mean time of a layer, `started_at` the attempt's first event.
    """

    stage: str | None = None
    layers_done: int = 0
    layers_total: int | None = None
    percent: float = 0.0
    eta_seconds: float | None = None
    updated_at: datetime | None = None
    layer_seconds: float | None = None
    layers_timed: int = 0
    started_at: datetime | None = None


def advance(before: Snapshot, event: Event, at: datetime | None = None) -> Snapshot:
    """The snapshot after an event; percent never falls within an attempt.

    Args:
        at: when it was said; None: now.
    """
    after = before
    if isinstance(event, StageStarted):
        after = _at(replace(before, stage=event.stage), event.stage, 0.0)
    elif isinstance(event, StageFinished):
        after = _at(before, event.stage, 1.0)
    elif isinstance(event, Planned):
        after = replace(before, layers_total=event.layers)
    elif isinstance(event, Counted):
        after = _at(before, event.stage, event.done / max(event.total, 1))
    elif isinstance(event, LayerFinished):
        after = _with_layer(before, event)
    now = at or datetime.now(UTC)
    after = replace(after, started_at=before.started_at or now, updated_at=now)
    return replace(after, eta_seconds=_eta(after))


def _at(snapshot: Snapshot, stage: str, share: float) -> Snapshot:
    """Move to a share (0 to 1) of a stage; a stage without weight moves nothing."""
    if stage not in WEIGHTS:
        return snapshot
    names = list(WEIGHTS)
    before = sum(WEIGHTS[name] for name in names[: names.index(stage)])
    percent = before + WEIGHTS[stage] * min(max(share, 0.0), 1.0)
    return replace(snapshot, percent=max(snapshot.percent, round(percent, 2)))


def _with_layer(before: Snapshot, event: LayerFinished) -> Snapshot:
    done = event.done
    moved = _at(before, "prune", done / max(event.layers_total, 1))
    moved = replace(moved, layers_done=done, layers_total=event.layers_total)
    if event.resumed:  # took its time in another attempt
        return moved
    timed = before.layers_timed + 1
    mean = before.layer_seconds or 0.0
    return replace(moved, layers_timed=timed, layer_seconds=mean + (event.seconds - mean) / timed)


def _eta(snapshot: Snapshot) -> float | None:
    """Seconds left, if a percent takes as long as those of the layers, or those so far, took.

    The longer of both: a small model's layers pass in no time, its other stages do not.
    """
    if snapshot.layer_seconds is None or snapshot.layers_total is None:
        return None
    per_percent = snapshot.layer_seconds * snapshot.layers_total / WEIGHTS["prune"]
    if snapshot.started_at is not None and snapshot.updated_at is not None:
        so_far = (snapshot.updated_at - snapshot.started_at).total_seconds()
        per_percent = max(per_percent, so_far / max(snapshot.percent, 1.0))
    # What is done but not told yet takes a moment that nobody knows.
    return round(per_percent * (100.0 - snapshot.percent), 1) or None


def fields(snapshot: Snapshot) -> dict[Any, Any]:
    """Fields for people and dashboards, and the whole as JSON for `of_json`."""
    values = asdict(snapshot)
    for name in ("started_at", "updated_at"):
        values[name] = values[name] and values[name].isoformat()
    plain = {name: "" if value is None else str(value) for name, value in values.items()}
    return plain | {"snapshot": json.dumps(values)}


def of_json(text: str | None) -> Snapshot | None:
    """The snapshot in a hash's field `snapshot`; None: there is none that can be read."""
    try:
        values = json.loads(text or "")
        for name in ("started_at", "updated_at"):
            values[name] = values[name] and datetime.fromisoformat(values[name])
        return Snapshot(**values)
    except (ValueError, TypeError, KeyError):  # of another version, or torn: a hint, no truth
        return None
