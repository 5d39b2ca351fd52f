"""`Snapshot`: how far a job's attempt is, from the events that its engine said, and how long it
will take (`jobs.messages.expectation`).

The time left is that of the stage under way and of all stages after it, verification and
publication included. It is unknown while a stage ahead is, and never less than what surely remains.
Without an event it falls, or stands; it grows only when a stage has taken longer than was expected
of it, and then each time that this has doubled.

Percent is moved by the time left alone: what is missing to 100 shrinks in proportion to it. A stage
that takes longer than expected so gets no more than its share before it is over, and what remains
to do then shares what is left of the bar.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from jobs.messages.expectation import PLAN, STAGES, Expectation, of_stages
from slimgpt.events import SURVEY, Event, LayerFinished, Planned, StageFinished, StageStarted
from slimgpt.events import Progress as Counted

TIMES = ("started_at", "updated_at", "stage_at", "layer_at", "count_at", "counted_at")
PACED = ("recover", "evaluate")
"""Stages whose progress runs in proportion to their time, as that of the survey in `plan` does;
layers tell that of `prune`."""
TRUSTED_SHARE = 0.1
"""From this share of a stage on its own pace tells how long it takes."""
OVERRUN = 0.1
"""Of a stage that takes longer than expected, so much of its time remains, at least."""
LEAST_SECONDS = 1.0
"""What remains of an attempt that has not ended."""
UNKNOWN_SHARES = {"start": 2.0, "resolve": 4.0, "plan": 5.0}
"""Percent at the end of stages before the time of the job is known."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest state of a job's attempt.

    `step`: what the stage is doing, in words. `percent`: of the attempt's time, 0 to 100, never
    falls. `eta_seconds`: None while unknown, else `LEAST_SECONDS` or more. `layer_seconds`: mean
    time of a layer. `started_at`: the claim, or the first event. `share`: of the current stage, 0
    to 1; `stage_at`: its start; `layer_at`: the end of the last layer. `took`: seconds of the
    stages that are over. `expected`: the stages of the job, as an `Expectation` each.

    A stage may count several things, one after the other: `count_total` is how many the present
    ones are, `count_at` when their count began, `counted_at` when it last went on.
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
    step: str = ""
    share: float = 0.0
    stage_at: datetime | None = None
    layer_at: datetime | None = None
    count_total: int = 1
    count_at: datetime | None = None
    counted_at: datetime | None = None
    took: dict[str, float] = field(default_factory=dict)
    expected: dict[str, Expectation] = field(default_factory=of_stages)


def begun(expected: Mapping[str, Expectation], at: datetime | None = None) -> Snapshot:
    """The snapshot of an attempt that was claimed just now."""
    now = at or datetime.now(UTC)
    made = Snapshot(stage="start", started_at=now, stage_at=now, expected=dict(expected))
    return aged(made, now)


def advance(before: Snapshot, event: Event, at: datetime | None = None) -> Snapshot:
    """The snapshot after an event; percent never falls within an attempt.

    Args:
        at: when it was said; None: now.
    """
    now = at or datetime.now(UTC)
    after = replace(before, started_at=before.started_at or now)
    if isinstance(event, StageStarted):
        if event.stage != before.stage:
            after = replace(after, stage=event.stage, stage_at=now, share=0.0, step="")
            after = replace(after, count_at=now, counted_at=now)
    elif isinstance(event, StageFinished):
        seconds = max(event.seconds, _seconds(after.stage_at, now))
        after = replace(after, took=after.took | {event.stage: seconds}, share=1.0, step="")
    elif isinstance(event, Planned):
        after = replace(after, layers_total=event.layers)
    elif isinstance(event, Counted):
        after = _with_count(after, event, now)
    elif isinstance(event, LayerFinished):
        after = replace(_with_layer(after, event), layer_at=now)
    return aged(after, now)


def aged(snapshot: Snapshot, at: datetime | None = None) -> Snapshot:
    """The same later, without an event: percent and time left have gone on."""
    now = at or datetime.now(UTC)
    if snapshot.stage == "publish" and snapshot.share == 1.0:
        return replace(snapshot, percent=100.0, eta_seconds=None, updated_at=now)
    left = _left(snapshot, now)
    eta = None if left is None else round(max(left, LEAST_SECONDS), 1)
    percent = max(snapshot.percent, _percent(snapshot, eta, now))
    return replace(snapshot, percent=percent, eta_seconds=eta, updated_at=now)


def _percent(before: Snapshot, left: float | None, now: datetime) -> float:
    """Percent at a time left, which was `before.eta_seconds`; not more than the share of time."""
    if left is None:
        return _known_share(before)
    elapsed = _seconds(before.started_at, now)
    share = 100.0 * elapsed / (elapsed + left)
    if before.eta_seconds is None:
        return share
    return min(share, 100.0 - (100.0 - before.percent) * left / before.eta_seconds)


def _with_count(before: Snapshot, event: Counted, now: datetime) -> Snapshot:
    total = max(event.total, 1)
    share = min(max(event.done / total, 0.0), 1.0)
    again = share < before.share  # the next count began when the last one ended
    count_at = before.counted_at if again else before.count_at
    moved = replace(before, share=share, step=event.what, count_total=total)
    return replace(moved, count_at=count_at, counted_at=now)


def _with_layer(before: Snapshot, event: LayerFinished) -> Snapshot:
    done, total = event.done, event.layers_total
    moved = replace(
        before,
        layers_done=done,
        layers_total=total,
        share=done / max(total, 1),
        step=f"layer {done} of {total}",
    )
    if event.resumed:  # took its time in another attempt
        return moved
    timed = before.layers_timed + 1
    mean = before.layer_seconds or 0.0
    return replace(moved, layers_timed=timed, layer_seconds=mean + (event.seconds - mean) / timed)


def _known_share(snapshot: Snapshot) -> float:
    """Percent while the time of the job is unknown: that of stages that are short before others."""
    return max((UNKNOWN_SHARES.get(stage, 0.0) for stage in snapshot.took), default=0.0)


def _left(snapshot: Snapshot, now: datetime) -> float | None:
    """Seconds until the end of the attempt; None: unknown."""
    if not snapshot.expected:
        return None
    stages = [stage for stage in STAGES if stage in snapshot.expected or stage == snapshot.stage]
    at = stages.index(snapshot.stage) if snapshot.stage in stages else 0
    ahead = [_whole(snapshot, stage, now) for stage in stages[at + 1 :]]
    current = _left_of_stage(snapshot, stages[at], now)
    if current is None or any(seconds is None for seconds in ahead):
        return None
    return current + sum(seconds for seconds in ahead if seconds is not None)


def _left_of_stage(snapshot: Snapshot, stage: str, now: datetime) -> float | None:
    """Seconds until the end of the current stage; None: unknown."""
    if stage in snapshot.took:
        return 0.0
    elapsed, share = _seconds(snapshot.stage_at, now), snapshot.share
    if stage == "prune" and snapshot.layer_seconds is not None and snapshot.layers_total:
        after_next = snapshot.layer_seconds * (snapshot.layers_total - snapshot.layers_done - 1)
        since = _seconds(snapshot.layer_at, now)
        next_one = max(snapshot.layer_seconds - since, OVERRUN * snapshot.layer_seconds)
        return max(0.0, after_next + next_one)
    whole = _whole(snapshot, stage, now)
    surveys = stage == "plan" and snapshot.step.endswith(SURVEY)
    if (surveys or stage in PACED) and share >= TRUSTED_SHARE:
        paced = _left_of_count(snapshot, now)
        if surveys:  # with it the plan is all but made, whatever was expected
            return paced + PLAN
        # What comes after the last count, such as drift, takes its time, too.
        counted = _seconds(snapshot.stage_at, snapshot.counted_at or now)
        return max(paced, _rest(max(whole or 0.0, counted), elapsed))
    return None if whole is None else _rest(whole, elapsed)


def _rest(expected: float, elapsed: float) -> float:
    """Seconds that are left of a stage; of one that takes longer than expected, some remain."""
    return max(
        expected - elapsed, OVERRUN * expected * 2.0 ** math.ceil(_doublings(expected, elapsed))
    )


def _doublings(expected: float, elapsed: float) -> float:
    """How often a stage has doubled its expected time; 0: not yet longer."""
    return math.log2(elapsed / expected) if 0.0 < expected < elapsed else 0.0


def _left_of_count(snapshot: Snapshot, now: datetime) -> float:
    """Seconds until the end of the present count, by its own pace; of the next one some remain."""
    if snapshot.count_at is None or snapshot.counted_at is None:
        return 0.0
    whole = _seconds(snapshot.count_at, snapshot.counted_at) / snapshot.share
    since, one = _seconds(snapshot.counted_at, now), whole / snapshot.count_total
    return max(0.0, whole * (1.0 - snapshot.share) - min(since, (1.0 - OVERRUN) * one))


def _whole(snapshot: Snapshot, stage: str, now: datetime) -> float | None:
    """Seconds that a stage takes as a whole; None: unknown."""
    if stage in snapshot.took:
        return snapshot.took[stage]
    if stage == "prune" and snapshot.layer_seconds is not None and snapshot.layers_total:
        return snapshot.layer_seconds * snapshot.layers_total
    expected = snapshot.expected.get(stage, Expectation())
    if expected.of is None or expected.seconds is not None:
        return expected.seconds
    base = _whole(snapshot, expected.of, now)
    if base is not None and expected.of == snapshot.stage:  # it takes as long as it has at least
        elapsed = _seconds(snapshot.stage_at, now)
        base *= 2 ** math.floor(_doublings(base, elapsed))
    return None if base is None else max(expected.least, base * expected.times)


def _seconds(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def fields(snapshot: Snapshot) -> dict[Any, Any]:
    """Fields for people and dashboards, and the whole as JSON for `of_json`."""
    values = asdict(snapshot)
    for name in TIMES:
        values[name] = values[name] and values[name].isoformat()
    shown = {name: value for name, value in values.items() if name not in ("took", "expected")}
    plain = {name: "" if value is None else str(value) for name, value in shown.items()}
    return plain | {"snapshot": json.dumps(values)}


def of_json(text: str | None) -> Snapshot | None:
    """The snapshot in a hash's field `snapshot`; None: there is none that can be read."""
    try:
        values = json.loads(text or "")
        for name in TIMES:
            values[name] = values.get(name) and datetime.fromisoformat(values[name])
        found = values.get("expected", {}).items()
        values["expected"] = {stage: Expectation(*one) for stage, one in found}
        return Snapshot(**values)
    except (ValueError, TypeError, KeyError, AttributeError):  # of another version, or torn: a hint
        return None
